"""Model files: which there are, where they come from, what is inside."""
