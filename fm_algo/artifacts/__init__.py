"""Model files: ours, those of the built-in algorithm, and copies for other programs."""
