"""Chapter 2: how training went."""
