"""What a run will ask for before it starts: rows, tokens and, where models' sizes are known, GPU-hours.

Knows the recipe's targets and max_tokens: all figures are as if no row were dropped and every reply as long as it may
be. Knows models by their number of parameters only.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.core.config import Answers, Evolved, Instructions, LocalTeacher
from pipelines.core.recipe import (
    AnyRecipe,
    Compare,
    DataRecipe,
    Distil,
    Montessori,
    StudentRecipe,
    TinyLLM,
    Tune,
    signal_teachers,
)
from pipelines.generate.prompts import InstructionPrompt
from pipelines.runs import judged_estimates, round_estimates
from pipelines.runs.share import Share

# FLOP/s that a GPU of the H100's kind keeps up: writing is bound by memory, so it is far below its peak of 989e12.
WRITING, TRAINING = 100e12, 350e12
FORMULA = (
    f"2 FLOP per parameter and token written or scored, at {WRITING / 1e12:.0f} TFLOP/s a GPU; 6 per token trained on, "
    f"at {TRAINING / 1e12:.0f}; reading prompts is not counted, nor what APIs write"
)


def shares(recipe: AnyRecipe, seeds: int) -> list[Share]:
    """All that teachers are to write, with `seeds` tasks or questions to start from."""
    if isinstance(recipe, TinyLLM):
        return [
            Share(f"rationales of {name}", source.teacher, seeds, seeds * source.sampling.max_tokens)
            for name, source in recipe.asked.items()
        ]
    if isinstance(recipe, Tune):
        return []
    if isinstance(recipe, Compare):
        return judged_estimates.shares(recipe)
    if isinstance(recipe, Montessori):
        return _of_every_teacher(recipe)
    train = seeds - recipe.seeds.held_out
    new, found = _new_tasks(recipe, train)
    if recipe.instances is not None:
        config = recipe.instances
        most = new * (config.task_type_sampling.max_tokens + config.sampling.max_tokens)
        new *= config.most
        found.append(Share("instances", config.teacher, new, most))
    if isinstance(recipe.answers, Answers):
        rows = (train + new) * recipe.answers.samples
        found.append(Share("answers", recipe.answers.teacher, rows, rows * recipe.answers.sampling.max_tokens))
    if isinstance(recipe, Distil):
        length = (recipe.answers if isinstance(recipe.answers, Answers) else recipe.evaluate).sampling.max_tokens
        held_out = recipe.seeds.held_out
        found.append(Share("references", recipe.evaluate.teacher, held_out, held_out * length))
    return found


def examples(recipe: StudentRecipe, seeds: int) -> tuple[int, int]:
    """(examples, their tokens) that the student is trained on, all epochs together. `seeds`: rows to start from."""
    config = recipe.student.train
    if isinstance(recipe, Montessori):
        students = (recipe.rounds.count + 1) * recipe.evaluate.students
        rows = students * min(recipe.evaluate.rows, recipe.instructions.target) * config.epochs
        return rows, rows * config.max_length
    if isinstance(recipe, Tune | TinyLLM):
        tasks = len(recipe.rationales.losses) if isinstance(recipe, TinyLLM) else 1  # of each row
        rows = seeds * tasks * config.epochs
        return rows, rows * config.max_length
    samples = recipe.answers.samples if isinstance(recipe.answers, Answers) else 1
    rows = _tasks(recipe, seeds) * samples * config.epochs
    return rows, rows * config.max_length


def own_answers(recipe: AnyRecipe, seeds: int) -> tuple[int, int]:
    """(answers that the student writes itself, their tokens), all rounds together."""
    if not isinstance(recipe, Distil) or (config := recipe.student.on_policy) is None:
        return 0, 0
    rows = config.rounds * min(config.tasks, _tasks(recipe, seeds))
    return rows, rows * config.sampling.max_tokens


def in_words(recipe: AnyRecipe, seeds: int, sides: int = 1, reference: int = 0) -> list[str]:
    """A line for each step.

    An encoder-decoder's examples have two `sides`, each as long as max_length. Influence is measured on `reference`
    rows.
    """
    lines = [f"{s.step}: up to {s.rows:,} rows and {s.tokens:,} tokens by {s.teacher}" for s in shares(recipe, seeds)]
    if isinstance(recipe, Compare) and recipe.benchmarks:
        lines.append(judged_estimates.of_benchmarks(recipe, recipe.benchmarks))
    if isinstance(recipe, StudentRecipe):
        (rows, tokens), epochs = examples(recipe, seeds), recipe.student.train.epochs
        lines.append(f"training: up to {rows:,} examples and {sides * tokens:,} tokens, in {epochs} epoch(s)")
        if isinstance(recipe, Montessori):
            lines.append(round_estimates.in_words(recipe, reference))
        if config := recipe.student.on_policy:
            rows, tokens = own_answers(recipe, seeds)
            again = f"trained on in {config.train.epochs} epoch(s)"
            lines.append(
                f"own answers: up to {rows:,} and {tokens:,} tokens by the student in {config.rounds} round(s), {again}"
            )
    return lines


def gpu_hours(recipe: AnyRecipe, seeds: int, sizes: Mapping[str, int], student: int, reference: int = 0) -> str:
    """One line; "" where a size is not known (0), or where it is a matter of minutes. `reference`: as in in_words."""
    ours = [s for s in shares(recipe, seeds) if isinstance(recipe.teachers[s.teacher], LocalTeacher)]
    work = [2 * sizes[s.teacher] * s.tokens / WRITING for s in ours]
    known = all(sizes[s.teacher] for s in ours)
    if isinstance(recipe, StudentRecipe):
        tokens = examples(recipe, seeds)[1]
        own = own_answers(recipe, seeds)[1]
        again = own * (recipe.student.on_policy.train.epochs if recipe.student.on_policy else 0)
        scored = tokens / recipe.student.train.epochs + own
        known = known and bool(student)
        work += [2 * student * own / WRITING, 6 * student * (tokens + again) / TRAINING]
        # Which source has how many rows is not known here: the largest teacher stands for all.
        asked = signal_teachers(recipe.student)
        work.append(max((2 * sizes[name] * scored / WRITING for name in asked), default=0.0))
    if isinstance(recipe, Montessori):
        scored, learnt = round_estimates.work(recipe, reference, sizes[recipe.teacher], student)
        work += [2 * scored / WRITING, 6 * learnt / TRAINING]
    hours = sum(work) / 3600
    told = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
    return f"GPU-hours: about {told}, if no row is dropped ({FORMULA})" if known and hours >= 0.01 else ""


def _of_every_teacher(recipe: Montessori) -> list[Share]:
    """The same of the untuned one and of each that is tuned. No seed is answered."""
    new, found = _new_tasks(recipe, 0)
    found.append(Share("answers", recipe.teacher, new, new * recipe.answers.sampling.max_tokens))
    teachers = recipe.rounds.count + 1
    return [replace(share, rows=teachers * share.rows, tokens=teachers * share.tokens) for share in found]


def _tasks(recipe: DataRecipe, seeds: int) -> int:
    """The tasks that are answered: seeds and new ones."""
    train = seeds - recipe.seeds.held_out
    return train + _new_tasks(recipe, train)[0] * (recipe.instances.most if recipe.instances else 1)


def _new_tasks(recipe: DataRecipe, train: int) -> tuple[int, list[Share]]:
    """(new instructions, what they cost)."""
    config = recipe.instructions
    if isinstance(config, Instructions):
        shown = config.seed_examples + config.own_examples
        listed = (config.list_end or 2 * shown + 1) - shown - 1
        one_each = InstructionPrompt.load(config.prompt).shape in ("tagged", "open tag")
        items = 1 if one_each else max(1, listed)
        tokens = -(-config.target // items) * config.sampling.max_tokens
        return config.target, [Share("instructions", config.teacher, config.target, tokens)]
    if isinstance(config, Evolved):
        new = train * config.generations
        return new, [Share("instructions", config.teacher, new, new * config.sampling.max_tokens)]
    return 0, []
