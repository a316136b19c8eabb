"""A recovered network as a map and as a list of reactions: for a chapter of the report, and for own data."""
