"""What rounds of influence will ask for before they start: rows to probe, preferences, a teacher's tuning.

Knows a recipe of method montessori. As in `estimates.py` no row is dropped and every text is as long as it may be; half
of each prompt's completions help and half hurt.
"""

from pipelines.core.recipe import Montessori

TEXTS = 2  # of a preference


def probed(recipe: Montessori) -> int:
    """Rows of one round whose influence is asked for."""
    return recipe.instructions.target - recipe.rounds.warm_up.rows


def preferences(recipe: Montessori) -> tuple[int, int]:
    """(of one prompt, of one round)."""
    samples, most = recipe.instructions.samples, recipe.rounds.preferences.most_per_prompt
    each = samples // 2 * (samples - samples // 2)
    each = each if most is None else min(each, most)
    return each, -(-probed(recipe) // samples) * each


def in_words(recipe: Montessori, reference: int) -> str:
    """One line. `reference`: rows that influence is measured on."""
    config, (each, every) = recipe.rounds, preferences(recipe)
    return (
        f"rounds: {config.count}; in each up to {probed(recipe):,} rows are probed (method {config.probe.method}, "
        f"{reference:,} reference rows), and {recipe.teacher} is tuned on up to {every:,} preferences, {each} of each "
        f"prompt's {recipe.instructions.samples} completions"
    )


def work(recipe: Montessori, reference: int, teacher: int, student: int) -> tuple[int, int]:
    """(scored, trained on) in parameters times tokens, all rounds together; `teacher` and `student` are their sizes."""
    config, length = recipe.rounds, recipe.student.train.max_length
    warm, tune, rows = config.warm_up, config.tune, probed(recipe)
    pairs = TEXTS * preferences(recipe)[1] * tune.max_length
    checked = min(rows, config.probe.self_check.rows)
    measured, steps = (rows, rows) if config.probe.method == "exact" else (checked, rows + checked)
    scored = student * length * measured * reference + teacher * pairs
    learnt = student * length * (warm.rows * warm.train.epochs + steps) + teacher * pairs * tune.epochs
    return config.count * scored, config.count * learnt
