"""The report of a run as one HTML page, Markdown and JSON. Knows the numbers it is given and nothing else."""
