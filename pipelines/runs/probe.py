"""A user's own rows scored by a run's student: how much would each help it?

Knows where a run keeps its warm student, what may be in the reference set, and the file that scores are written to,
line by line as they come, so that the same command goes on where it was. How influence is measured is in
`pipelines.influence`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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

STAGE = "influence"


@dataclass(frozen=True)
class Scores:
    """What a file of scores holds now, and what was seen on the way."""

    scored: int
    dropped: Mapping[str, int]
    told: Sequence[str]  # the reference set, and what the self-check of estimates says


def score(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    rows: str,
    method: InfluenceMethod,
    out: str,
    runs: str,
    address: str | None,
    progress: Progress,
) -> Scores:
    """Score the rows that `out` does not have yet. UserError for what is not there or cannot be."""
    recipe, config = _probed(recipe)
    done = {p.stage.name: p.done for p in runner.plan(stages, Folder(runs)) if p.done is not None}
    if STUDENT not in done:
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    folder = done[STUDENT].folder.local_path()
    encoded = _encoder(recipe, folder)
    sheet = _Sheet(Path(out).expanduser(), method, str(done[STUDENT].manifest["digest"]))
    asked, known = list(_rows(rows, encoded)), sheet.read()
    left = []
    for row in asked:
        if row.id not in known:
            left.append(row) if isinstance(row, TrainExample) else sheet.add(row)
    told: list[str] = []
    if left:
        reference, words = _encoded_reference(_reference(recipe, config, done), encoded)
        progress.begin(STAGE, len(asked), len(asked) - len(left))
        with session(address) as live:
            job = Job(folder, reference, config.model_copy(update={"method": method}), recipe.seed, left, live.threads)
            told = [words, *_in_a_worker(job, live, sheet, progress)]
    lines = sheet.read().values()
    dropped = Counter(line["dropped"] for line in lines if "dropped" in line)
    return Scores(len(lines) - dropped.total(), dict(sorted(dropped.items())), told)


def _probed(recipe: AnyRecipe) -> tuple[StudentRecipe, Probe]:
    config = recipe.student.probe if isinstance(recipe, StudentRecipe) else None
    if not isinstance(recipe, StudentRecipe) or config is None:
        raise UserError(
            "the recipe has no student.probe, so nobody knows what its student should be good at; write for example "
            "student.probe: {reference: {path: FILE, limit: 256}}"
        )
    return recipe, config


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
        if row.fault or not value or not all(isinstance(text, str) for text in texts):
            yield Dropped(row.where, STAGE, "not a row", str(row.value)[:500], row.fault)
            continue
        instruction, inline, response = texts
        id = str(value.get("id") or key_of("row", *texts))
        if not instruction.strip() or not response.strip():
            yield Dropped(id, STAGE, "empty", instruction, f"{row.where}: no instruction, or no response")
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


def _encoded_reference(rows: Sequence[Conversation], encoded: Encode) -> tuple[list[TrainExample], str]:
    """(examples, what became of the rows in words)."""
    made = list(map(encoded, rows))
    examples = [row for row in made if isinstance(row, TrainExample)]
    lost = Counter(row.reason for row in made if isinstance(row, Dropped))
    left_out = f"; left out: {', '.join(f'{count} {reason}' for reason, count in lost.items())}" if lost else ""
    return examples, f"reference: {len(examples)} rows{left_out}"


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

    def __init__(self, path: Path, method: InfluenceMethod, student: str) -> None:
        self._path, self._whose = path, {"method": method, "student": student}

    def read(self) -> dict[str, dict[str, Any]]:
        """Lines by row; the file is left without what is no line. UserError where it holds other scores."""
        if not self._path.is_file():
            return {}
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._path.write_text(whole, encoding="utf-8")
        lines = [json.loads(line) for line in whole.splitlines()]
        for name, mine in self._whose.items():
            if other := next((line.get(name) for line in lines if line.get(name) != mine), None):
                raise UserError(f"--out: {self._path} holds scores of {name} {other}, not {mine}; give another file")
        return {line["id"]: line for line in lines}

    def add(self, found: Influence | Dropped) -> None:
        if isinstance(found, Dropped):
            told = {"id": found.id, "dropped": found.reason, "detail": found.detail}
        else:
            told = {"id": found.row_id, **{k: v for k, v in asdict(found).items() if k not in ("id", "row_id")}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**told, **self._whose}, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Job:
    """All that a worker needs."""

    student: Path  # its stage's folder
    reference: list[TrainExample]
    config: Probing
    seed: int
    rows: list[TrainExample]
    threads: int


def _in_a_worker(job: Job, live: Session, sheet: _Sheet, progress: Progress) -> list[str]:
    import ray

    def take(found: Influence | Dropped) -> None:
        sheet.add(found)
        progress.advance(1)

    env = {"OMP_NUM_THREADS": str(job.threads)}
    gpus = 1 if live.on_gpu else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env={"env_vars": env})(_scored)
    with Watch(take) as watch:
        told: list[str] = ray.get(task.remote(job, watch.board))
    return told


def _scored(job: Job, board: Any) -> list[str]:
    """Runs on the cluster; every row is told as it is scored. Returns what the self-check of estimates says."""
    import ray
    import torch

    from pipelines.influence.agreement import self_check
    from pipelines.influence.probe import Probe as Measuring
    from pipelines.influence.reference import Reference
    from pipelines.influence.state import Warm

    torch.set_num_threads(job.threads)
    warm = Warm.read(job.student, "cuda" if torch.cuda.is_available() else "cpu")
    probe = Measuring(warm, Reference(job.reference, job.config.normalise), job.config)
    found = []
    for row in job.rows:
        found.append(probe.influence(row))
        ray.get(board.tell.remote(found[-1]))
    probe.check()
    if job.config.method == "exact":
        return []
    estimated = [each for each in found if isinstance(each, Influence)]
    agreement = self_check(probe, job.rows, estimated, job.config.self_check, job.seed)
    return [agreement.in_words(job.config.self_check.spearman)]
