"""What a comparison will ask for before it starts: answers by each model, and the judge's replies.

Knows the questions and max_tokens: all figures are as if every reply were as long as it may be.
"""

from pipelines.core.config import AskedJudge, Benchmarks
from pipelines.core.recipe import Compare
from pipelines.judge import questions, self_check
from pipelines.judge.pairwise import ORDERS
from pipelines.runs.share import Share


def shares(recipe: Compare) -> list[Share]:
    """All that the models and the judge are to write. Of benchmarks nothing is known before they are loaded."""
    judge = recipe.judge
    if judge is None:
        return []
    asked, _ = questions.drawn(recipe.questions, recipe.seed)
    turns = sum(len(question.turns) for question in asked)
    length = recipe.answers.sampling.max_tokens
    found = [Share(f"answers of {model}", model, turns, turns * length) for model in recipe.answers.models]
    if isinstance(judge, AskedJudge):
        replies = {"verdicts on pairs": 0, "numbers for answers": 0}
        if "pairwise" in judge.kinds:
            check = len(self_check.pairs()) * self_check.REPEATS
            replies["verdicts on pairs"] = len(ORDERS) * (check + len(recipe.challengers) * len(asked))
        if "single" in judge.kinds:
            replies["numbers for answers"] = len(self_check.talks()) + len(recipe.scored) * turns
        found += [
            Share(step, judge.teacher, rows, rows * judge.sampling.max_tokens) for step, rows in replies.items() if rows
        ]
    return found


def of_benchmarks(recipe: Compare, config: Benchmarks) -> str:
    """One line. How many documents a task has is in its data, and how many requests each of them takes in its file."""
    limit = f"up to {config.limit:,} documents of each task" if config.limit else "all documents of each task"
    tasks, models = ", ".join(config.tasks), ", ".join(recipe.answers.models)
    return f"benchmarks: {tasks}, {limit}, by {models}; a document is read once for each of its choices"
