"""What a person can ask for on the command line, one family a module."""
