"""From a model's outputs to boxes: one family of models a file."""
