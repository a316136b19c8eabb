"""A network as a learner knows it: candidate edges, and the columns that its reactions may have."""
