"""`python -m fm_algo`: the command line."""

from fm_algo.cli.program import main

main()
