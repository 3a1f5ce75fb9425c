"""The machine: processors, memory, and what is compiled for them."""
