"""Bytes and files to rows, and back."""
