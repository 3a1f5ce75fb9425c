"""Training: turn rows into a model."""
