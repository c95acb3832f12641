"""The seed tasks that ship, in Self-Instruct's format: what every recipe can start from. Knows where they lie."""

from pathlib import Path

SEED_TASKS = Path(__file__).parent / "seed_tasks.jsonl"
