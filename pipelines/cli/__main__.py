"""`python -m pipelines.cli` is `tutelage`."""

from pipelines.cli import main

main()
