"""`python -m iqeval`: the same as the console script."""

from iqeval.cli import main

main()
