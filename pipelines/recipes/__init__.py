"""One readable file per method, which only assembles stages, and the recipes as YAML beside it."""
