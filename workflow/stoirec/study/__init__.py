"""Which fits a study asks for, where their files lie, and what is trained next."""
