"""The generator and the truth: nothing that learns imports from here."""
