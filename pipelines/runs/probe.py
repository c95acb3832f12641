"""A user's own rows scored by a run's student: how much would each help it?

Knows where a run keeps its warm student, what may be in the reference set, and the file that scores are written to,
line by line as they come, so that the same command goes on where it was. How influence is measured is in
`pipelines.influence`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from cluster.board import Watch
from cluster.session import Session, session
from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn, Probe, Probing
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import STUDENT, AnyRecipe, Distil, StudentRecipe, TinyLLM, Tune
from pipelines.core.records import (
    Conversation,
    Dropped,
    Influence,
    InfluenceMethod,
    Instruction,
    Question,
    TrainExample,
)
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.formats.json_rows import read_json
from pipelines.train import given_data
from pipelines.train.examples import of_conversation


@dataclass(frozen=True)
class Scores:
    """What a file of scores holds now, and what the self-check says of them; "" where nothing was estimated anew."""

    scored: int
    dropped: Mapping[str, int]
    agreement: str


def score(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    rows: str,
    method: str,
    out: str,
    runs: str,
    address: str | None,
    progress: Progress,
) -> Scores:
    """Score the rows that `out` does not have yet. UserError for what is not there or cannot be."""
    config = recipe.student.probe if isinstance(recipe, StudentRecipe) else None
    if not isinstance(recipe, StudentRecipe) or config is None:
        raise UserError(
            "the recipe has no student.probe, so nobody knows what its student should be good at; write for example "
            "student.probe: {reference: {path: FILE, limit: 256}}"
        )
    if method not in get_args(InfluenceMethod):
        raise UserError(f"--method {method!r}: there are {', '.join(get_args(InfluenceMethod))}")
    done = {p.stage.name: p.done for p in runner.plan(stages, Folder(runs)) if p.done is not None}
    if STUDENT not in done:
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    folder = done[STUDENT].folder.local_path()
    encoded = _encoder(recipe, folder)
    asked = list(_rows(rows, encoded))
    sheet = _Sheet(Path(out).expanduser())
    known = sheet.read()
    todo = [row for row in asked if row.id not in known]
    for row in todo:
        if isinstance(row, Dropped):
            sheet.add(row)
    left = [row for row in todo if isinstance(row, TrainExample)]
    agreement = ""
    if left:
        reference = [row for row in map(encoded, _reference(recipe, config, done)) if isinstance(row, TrainExample)]
        probing = config.model_copy(update={"method": cast(InfluenceMethod, method)})
        progress.begin("influence", len(asked), len(asked) - len(left))
        with session(address) as live:
            agreement = _in_a_worker(folder, reference, probing, recipe.seed, left, live, sheet, progress)
    told = sheet.read()
    reasons = [line["dropped"] for line in told.values() if "dropped" in line]
    return Scores(len(told) - len(reasons), {r: reasons.count(r) for r in sorted(set(reasons))}, agreement)


Encode = Callable[[Conversation], TrainExample | Dropped]


def _encoder(recipe: StudentRecipe, folder: Path) -> Encode:
    """Rows as the student's training had them, of which the answer counts."""
    template, max_length = recipe.student.learn.template, recipe.student.train.max_length
    tokenizer = ChatTokenizer(str(folder / "model"), template)
    return lambda row: of_conversation(row, tokenizer, Learn(template=template), max_length)


def _rows(file: str, encoded: Encode) -> Iterator[TrainExample | Dropped]:
    """JSON lines of {instruction, response}, with an `input` and an `id` where they have them."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"--rows: there is no file {file!r}; give JSON lines of {{instruction, response}}")
    for row in read_json(path):
        value = row.value if isinstance(row.value, dict) else {}
        texts = [value.get(name, "") for name in ("instruction", "input", "response")]
        id = str(value.get("id") or key_of("row", *map(str, texts)))
        if row.fault or not all(isinstance(text, str) for text in texts):
            yield Dropped(id, "influence", "not a row", str(row.value)[:500], f"{row.where}: {row.fault}")
            continue
        instruction, inline, response = texts
        if not instruction.strip() or not response.strip():
            yield Dropped(id, "influence", "empty", instruction, f"{row.where}: no instruction, or no response")
            continue
        yield _named(encoded(Conversation(id, "", (instruction, response), inline, "{}")), id)


def _named(made: TrainExample | Dropped, id: str) -> TrainExample | Dropped:
    """Under the row's own id, by which its score is known."""
    return replace(made, id=id)


def _reference(recipe: StudentRecipe, config: Probe, done: Mapping[str, Done]) -> list[Conversation]:
    """What the student should be good at. UserError where it would be evaluated on the same."""
    rows = given_data.drawn("student.probe.reference", config.reference, recipe.seed)
    evaluated = set(_evaluated(recipe, done))
    shared = [row for row in rows if row.messages()[-2]["content"].strip() in evaluated]
    if shared and not config.evaluated_too:
        raise UserError(
            f"student.probe.reference: {len(shared)} of its {len(rows)} prompts are evaluated on, so the evaluation "
            f"would be of what was selected for ({shared[0].turns[0]!r}); take others, or set "
            "student.probe.evaluated_too to do as the released code of arXiv 2410.14208 does"
        )
    return rows


def _evaluated(recipe: StudentRecipe, done: Mapping[str, Done]) -> Iterator[str]:
    """The prompts that the run evaluates on."""
    match recipe:
        case Tune():
            halves = given_data.split_sources(recipe.data, recipe.seed)["held_out"]
            yield from (row.messages()[-2]["content"].strip() for rows, _ in halves.values() for row in rows)
        case Distil():
            yield from (task.as_prompt().strip() for task in rows_of(done["held_out"].folder, Instruction))
        case TinyLLM():
            yield from (q.stem for q in rows_of(done["questions"].folder, Question) if q.part == "test")


class _Sheet:
    """The file of scores: a JSON line for each row, written as it comes. A line that was cut off is written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """Lines by row; the file is left without what is no line."""
        if not self._path.is_file():
            return {}
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        return {line["id"]: line for line in map(json.loads, whole.splitlines())}

    def add(self, found: Influence | Dropped) -> None:
        if isinstance(found, Dropped):
            line = {"id": found.id, "dropped": found.reason, "detail": found.detail}
        else:
            line = {"id": found.row_id, **{k: v for k, v in asdict(found).items() if k not in ("id", "row_id")}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _in_a_worker(
    folder: Path,
    reference: Sequence[TrainExample],
    config: Probing,
    seed: int,
    rows: Sequence[TrainExample],
    live: Session,
    sheet: _Sheet,
    progress: Progress,
) -> str:
    import ray

    def take(found: Influence | Dropped) -> None:
        sheet.add(found)
        progress.advance(1)

    env = {"OMP_NUM_THREADS": str(live.threads)}
    gpus = 1 if live.on_gpu else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env={"env_vars": env})(_scored)
    with Watch(take) as watch:
        told: str = ray.get(task.remote(folder, list(reference), config, seed, list(rows), watch.board, live.threads))
    return told


def _scored(
    folder: Path,
    reference: list[TrainExample],
    config: Probing,
    seed: int,
    rows: list[TrainExample],
    board: Any,
    threads: int,
) -> str:
    """Runs on the cluster; every row is told as it is scored."""
    import ray
    import torch

    from pipelines.influence.agreement import self_check
    from pipelines.influence.probe import Probe as Measuring
    from pipelines.influence.reference import Reference
    from pipelines.influence.state import Warm

    torch.set_num_threads(threads)
    warm = Warm.read(folder, "cuda" if torch.cuda.is_available() else "cpu")
    probe = Measuring(warm, Reference(reference, config.normalise), config)
    found = []
    for row in rows:
        found.append(probe.influence(row))
        ray.get(board.tell.remote(found[-1]))
    probe.check()
    if config.method == "exact":
        return ""
    estimated = [each for each in found if isinstance(each, Influence)]
    return self_check(probe, rows, estimated, config.self_check, seed).in_words(config.self_check.spearman)
