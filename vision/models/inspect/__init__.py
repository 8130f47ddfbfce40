"""What is inside a model file, and what a GPU makes of it."""
