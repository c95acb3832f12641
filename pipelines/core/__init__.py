"""Records, recipe, stages, storage. Imports neither Ray nor torch nor vLLM, so `plan` answers at once."""
