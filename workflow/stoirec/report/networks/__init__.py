"""Chapter 6: every kind of data beside its references, and the recovered network as a map."""
