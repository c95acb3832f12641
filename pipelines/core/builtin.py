"""What ships with the package, so that every recipe can start without data of its own. Knows where it lies."""

from pathlib import Path

SEED_TASKS = Path(__file__).parent / "seed_tasks.jsonl"  # in Self-Instruct's format
QUESTIONS = Path(__file__).parent / "questions.jsonl"  # multiple-choice questions, each with its part
BENCHMARK_CHECK = Path(__file__).parent / "benchmark_check.jsonl"  # {context, right, wrong}: how plain texts go on
OPEN_QUESTIONS = Path(__file__).parent / "open_questions.jsonl"  # {id, category, turns, reference?}
JUDGE_CHECK = Path(__file__).parent / "judge_check.jsonl"  # {id, question, right, wrong} or {id, question, same}
