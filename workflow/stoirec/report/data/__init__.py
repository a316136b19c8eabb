"""Chapter 1: the data and its regime."""
