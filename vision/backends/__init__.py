"""What runs a model: one kind a file."""
