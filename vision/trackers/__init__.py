"""How boxes become tracks: one way a file."""
