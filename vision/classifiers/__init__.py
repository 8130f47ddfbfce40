"""From a model's outputs to class probabilities: one family of models a file."""
