"""The training step on arrays: a slow reference and fast kernels that must agree with it."""
