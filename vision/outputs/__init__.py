"""What a person sees: a window, recordings, pictures."""
