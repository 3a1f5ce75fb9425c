"""Ranking items for users: judging the best of all items, and learning by comparisons of items."""
