"""`models convert`: every variant is made, run on pictures beside the original, and judged."""
