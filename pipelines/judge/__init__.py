"""Models that answer the same questions, and who judges their answers. Starts nothing: a faculty asks, stages run."""
