"""The command line: a module per command, and `program`, which runs them.

A command has the text ABOUT, `add_arguments` and `run`.
"""
