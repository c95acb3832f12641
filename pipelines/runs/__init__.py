"""Whole runs: plan and run a recipe, its report, its lineage, its shelf, its endpoints, this machine's health."""
