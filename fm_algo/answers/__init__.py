"""What a model tells beyond a score."""
