"""`python -m iqdata`: the same as the console script."""

from iqdata.cli import main

main()
