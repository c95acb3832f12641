"""Where it runs: the Ray session, resources, models on disk and engine settings."""
