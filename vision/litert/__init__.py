"""LiteRT's C API: the way to a GPU that leaves Python's other threads running."""
