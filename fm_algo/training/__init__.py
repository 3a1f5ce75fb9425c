"""Training: how a model comes from rows."""
