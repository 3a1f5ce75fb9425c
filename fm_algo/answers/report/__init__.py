"""A report on a model that people can look at: single plots, and one page of them."""
