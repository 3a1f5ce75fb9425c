"""Models on disk: ours, the built-in's, and copies for other programs."""
