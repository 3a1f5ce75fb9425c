"""Answers beyond a score: explanations and recommendations."""
