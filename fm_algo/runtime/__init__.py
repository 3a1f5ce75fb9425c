"""The machine: its processors, its memory, and the code compiled for it."""
