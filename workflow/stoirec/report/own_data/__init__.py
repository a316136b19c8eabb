"""The page for who has data and no truth: the answer, what cannot be told, and predicted beside measured courses."""
