"""The page of `stoirec check`: what data can tell, before anything is trained."""
