"""Chapter 5: what is attainable."""
