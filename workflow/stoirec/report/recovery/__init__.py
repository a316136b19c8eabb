"""Chapter 3: one fit beside the truth."""
