"""What leaves by `tutelage export`: a run's training answers, or a folder that `tutelage import` made.

Knows which stages hold what a teacher wrote, and what a dataset's card can say of it. How formats look is in
`pipelines.formats`. Held-out tasks and their references stay: whoever trained on them could not evaluate any more.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.core import runner
from pipelines.core.config import Evolved, Given, OwnAnswers
from pipelines.core.errors import UserError
from pipelines.core.hashing import canonical
from pipelines.core.parts import rows_of
from pipelines.core.recipe import Compare, DataRecipe, Montessori, TinyLLM, Tune
from pipelines.core.records import Answer, Conversation, Instruction
from pipelines.core.stage import Done
from pipelines.core.storage import Folder
from pipelines.formats import ExportFormat, card, folder, write
from pipelines.formats.card import Provenance, Step
from pipelines.runs import api, judged_export, who, written
from pipelines.train import choices, given_data


def export(
    what: str, format: ExportFormat, out: str, runs: str, overrides: Sequence[str] = (), license: str | None = None
) -> write.Written:
    """Write `what` to the new path `out`. UserError where it is not there or not finished."""
    if license is not None and format != "hf":
        raise UserError(f"--license goes into the card of --to hf; {format} has no place for it")
    if folder.is_imported(what):
        provenance, rows, conversations = _of_import(what)
    else:
        provenance, rows, conversations = _of_run(what, runs, overrides)
    return write.export(conversations, format, out, card.markdown(provenance, rows, license))


Taken = tuple[Provenance, int, Iterator[Conversation]]


def _of_import(path: str) -> Taken:
    manifest, conversations = folder.open_imported(path)
    file, digest = manifest["facts"]["file"], manifest["config"]["source"]
    provenance = Provenance(
        name=Folder(path).name,
        teachers=(),
        made=[f"Imported from `{file}` (format {manifest['config']['format']}, digest `{digest}`)."],
        filters=(),
        steps=[Step("import", manifest["rows"], manifest["dropped"])],
        lineage="The source's own: columns that the format does not know are kept in `extra`.",
        written_with=who.program(),
    )
    return provenance, manifest["rows"], conversations


def _of_run(name: str, runs: str, overrides: Sequence[str]) -> Taken:
    if Folder(name).exists("recipe.yaml"):
        runs = str(Path(name).resolve().parent)  # a run by its path, wherever its shelf is
    recipe, run_folder, stages = api.open_run(name, runs, overrides)
    done = {p.stage.name: p.done for p in runner.plan(stages, Folder(runs)) if p.done is not None}
    if isinstance(recipe, Tune):
        return _of_tuned(recipe, run_folder.name, done)
    if isinstance(recipe, Compare):
        return judged_export.taken(recipe, run_folder.name, done)
    if isinstance(recipe, TinyLLM):
        return _of_explained(recipe, run_folder.name, done)
    of = f"_{recipe.rounds.count}" if isinstance(recipe, Montessori) else ""
    if f"answers{of}" not in done:
        whose = " by the teacher after its last round" if of else ""
        raise UserError(f"{run_folder.name} in {runs} has no finished answers{whose} yet; `tutelage run` makes them")
    provenance = _run_provenance(recipe, run_folder.name, done, of)
    return provenance, done[f"answers{of}"].manifest["rows"], _answered(done, of)


def _of_tuned(recipe: Tune, run: str, done: Mapping[str, Done]) -> Taken:
    """What a student was trained on: the rows that are neither held out nor dropped, as their sources have them."""
    if "examples" not in done:
        raise UserError(f"{run} has no finished examples yet; `tutelage run` makes them")
    examples = done["examples"]
    conversations = (row for _, row in given_data.trained_on(recipe.data, recipe.seed, examples))
    apart = f"{recipe.data.held_out} prompts of each source are held out and are not here"
    provenance = Provenance(
        name=run,
        teachers=(),
        made=[
            f"Recipe `{recipe.name}` (method {recipe.method}, seed {recipe.seed}), run `{run}`; {apart}.",
            *(f"Source `{name}`: `{source.path}`." for name, source in recipe.data.sources.items()),
        ],
        filters=[f"Rows of more than {recipe.student.train.max_length} tokens: {recipe.student.learn.too_long}."],
        steps=[Step("examples", examples.manifest["rows"], examples.manifest["dropped"])],
        lineage="The sources' own: columns that their format does not know are kept in `extra`.",
        written_with=who.program(),
    )
    return provenance, examples.manifest["rows"], conversations


def _of_explained(recipe: TinyLLM, run: str, done: Mapping[str, Done]) -> Taken:
    """What a student was trained on: questions with their answers, and with what was kept of their rationales."""
    if "examples" not in done:
        raise UserError(f"{run} has no finished examples yet; `tutelage run` makes them")
    config, steps = recipe.rationales, written.steps(done)
    provenance = Provenance(
        name=run,
        teachers=[who.teacher(recipe, source.teacher) for source in recipe.asked.values()],
        made=[
            f"Recipe `{recipe.name}` (method {recipe.method}, seed {recipe.seed}), run `{run}`; the questions that are "
            "kept for testing are not here.",
            f"Questions: `{recipe.data.path}`.",
            *(f"Rationales of `{name}`: {source.kind}." for name, source in config.heard.items()),
        ],
        filters=[f"Rationales: {', '.join(config.filters)}."] if config.heard else [],
        steps=[Step(name, done[name].manifest["rows"], done[name].manifest["dropped"]) for name in steps],
        lineage="`extra` holds `question_id`, `answer_id` (the question's or its rationale's) and the `component` of "
        f"the loss. `tutelage trace ANSWER_ID` follows a row of `{run}` back.",
        written_with=who.program(),
    )
    return provenance, done["examples"].manifest["rows"], choices.trained_on(config, done)


def _answered(done: Mapping[str, Done], of: str) -> Iterator[Conversation]:
    """The answers in their order, each with its instruction. `of` is how their teacher's stages end: see `written`."""
    tasks = {task.id: task for task in rows_of(written.tasks(done, of).folder, Instruction)}
    for answer in rows_of(done[f"answers{of}"].folder, Answer):
        task = tasks[answer.instruction_id]
        assert task.split == "train", f"the held-out task {task.id} has an answer among the training answers"
        lineage = {
            "answer_id": answer.id,
            "instruction_id": task.id,
            "origin": task.origin,
            "parents": task.parents,
            "finish_reason": answer.finish_reason,
            **({"reasoning": answer.reasoning} if answer.reasoning else {}),
        }
        turns = (task.text, answer.text)
        id = Conversation.make_id("", turns, task.input)
        yield Conversation(id, "", turns, task.input, canonical(lineage))


def _run_provenance(recipe: DataRecipe, run: str, done: Mapping[str, Done], of: str) -> Provenance:
    return Provenance(
        name=run,
        teachers=[who.teacher(recipe, name) for name in _writers(recipe)],
        made=[
            f"Recipe `{recipe.name}` (method {recipe.method}, seed {recipe.seed}), run `{run}`.",
            f"Seed tasks: `{recipe.seeds.tasks}`; {recipe.seeds.held_out} of them are held out and are not here.",
            f"Instructions: {_instructions(recipe)}",
            *_instances(recipe),
            f"Answers: {_answers(recipe)}",
            *_tuning(recipe),
        ],
        filters=[
            *_instruction_filters(recipe),
            *_answer_filters(recipe),
        ],
        steps=[
            Step(name, done[name].manifest["rows"], done[name].manifest["dropped"])
            for name in written.steps(done, of)
            if name != f"examples{of}"
        ],
        lineage="Seed, instruction, answer: `extra` holds `answer_id`, `instruction_id`, and in `parents` the ids of "
        "the instructions that the teacher was shown or made it of (none for a seed). "
        f"`tutelage trace ANSWER_ID` follows a row of `{run}` back to its seeds.",
        written_with=who.program(),
    )


def _writers(recipe: DataRecipe) -> list[str]:
    """The teachers that wrote what leaves."""
    sections = (recipe.instructions, recipe.instances, recipe.answers)
    return sorted({s.teacher for s in sections if s is not None and not isinstance(s, Given | OwnAnswers)})


def _instructions(recipe: DataRecipe) -> str:
    settings = recipe.instructions
    if isinstance(settings, Given):
        return "the seeds that are left, as they are."
    if isinstance(settings, Evolved):
        return (
            f"the seeds that are left, and what `{settings.teacher}` made of them in {settings.generations} "
            "generation(s) of rewriting."
        )
    seeds = "" if isinstance(recipe, Montessori) else "the seeds that are left, and "
    return f"{seeds}new ones by `{settings.teacher}`."


def _instances(recipe: DataRecipe) -> list[str]:
    settings = recipe.instances
    return [f"Examples of each instruction, up to {settings.most}, by `{settings.teacher}`."] if settings else []


def _answers(recipe: DataRecipe) -> str:
    settings = recipe.answers
    if isinstance(settings, OwnAnswers):
        return "those that came with the tasks."
    return f"{settings.samples} for each instruction, by `{settings.teacher}`."


def _tuning(recipe: DataRecipe) -> list[str]:
    if not isinstance(recipe, Montessori):
        return []
    return [f"`{recipe.teacher}` was tuned in {recipe.rounds.count} round(s) before it wrote them, to help a student."]


def _answer_filters(recipe: DataRecipe) -> list[str]:
    settings = recipe.answers
    if isinstance(settings, OwnAnswers):
        return ["Answers: a task without one is dropped."]
    more = f" Dropped too: {', '.join(settings.filters)}." if settings.filters else ""
    return [f"Answers: empty ones are dropped; of those that hit max_tokens, {settings.cut_off}.{more}"]


def _instruction_filters(recipe: DataRecipe) -> list[str]:
    settings = recipe.instructions
    if isinstance(settings, Given):
        return []
    limits = f"Instructions: {', '.join(settings.filters)}; {settings.min_words} to {settings.max_words} words; "
    if isinstance(settings, Evolved):
        apart = f"at most {settings.max_rouge_l_with_parent} with the task it was made of"
        return [f"{limits}ROUGE-L at most {settings.max_rouge_l} with the held-out tasks, {apart}."]
    return [f"{limits}ROUGE-L at most {settings.max_rouge_l} with every other one and with the held-out tasks."]
