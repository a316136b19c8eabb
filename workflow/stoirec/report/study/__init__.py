"""Chapter 4: what the parameters did."""
