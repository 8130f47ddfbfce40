"""Where events go: one kind of receiver a file."""
