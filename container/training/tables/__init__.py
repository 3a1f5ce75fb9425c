"""Channels of tables: open their files, learn what their values are, read their rows."""
