"""How fast the line is, against the limit of this machine."""
