"""Turn bytes and files into rows, and back."""
