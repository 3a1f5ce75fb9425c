"""Factorization machines: formats, model, kernels and training."""
