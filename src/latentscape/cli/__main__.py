"""`python -m latentscape.cli`."""

from latentscape.cli import main

main()
