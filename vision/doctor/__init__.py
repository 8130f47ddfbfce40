"""What on this machine works, what does not, and the line that mends it."""
