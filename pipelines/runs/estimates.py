"""What a run will ask for, in rows and tokens, before it starts: upper bounds from the recipe alone.

Knows the recipe's targets and max_tokens. Does not know models; what is not said by the recipe is not guessed.
"""

from pipelines.core.config import Answers, Evolved, Instructions
from pipelines.core.recipe import DataRecipe, Distil


def tokens(recipe: DataRecipe) -> list[str]:
    """How many tokens are written at most, and for what."""
    facts = []
    tasks, config = new_tasks(recipe), recipe.instructions
    if isinstance(config, Instructions):
        facts.append(
            f"instructions: {config.target:,} new ones, at most {config.sampling.max_tokens:,} tokens a reply, in at "
            f"most {config.requests_per_round * config.samples * config.max_rounds:,} replies"
        )
    if isinstance(config, Evolved):
        most = config.generations * config.sampling.max_tokens
        facts.append(f"instructions: {config.generations} rewriting(s) of each seed task, {most:,} tokens at most")
    if recipe.instances is not None:
        most = (recipe.instances.sampling.max_tokens + recipe.instances.task_type_sampling.max_tokens) * tasks
        facts.append(f"instances: up to {tasks * recipe.instances.most:,} tasks, {most:,} tokens")
    if isinstance(recipe.answers, Answers):
        rows = answered(recipe)
        most = rows * recipe.answers.sampling.max_tokens
        facts.append(f"answers: up to {rows:,}, {most:,} tokens")
    return [f"{fact} (and for seed tasks besides)" if tasks else fact for fact in facts]


def new_tasks(recipe: DataRecipe) -> int:
    """The instructions that a teacher writes; the seeds are not counted."""
    return recipe.instructions.target if isinstance(recipe.instructions, Instructions) else 0


def answered(recipe: DataRecipe) -> int:
    """The new tasks' answers, at most."""
    tasks = new_tasks(recipe) * (recipe.instances.most if recipe.instances else 1)
    return tasks * (recipe.answers.samples if isinstance(recipe.answers, Answers) else 1)


def examples(recipe: Distil) -> str:
    """What the student will see."""
    epochs = recipe.student.train.epochs
    return f"training: up to {answered(recipe) * epochs:,} examples in {epochs} epoch(s), and the seed tasks"
