"""A user's own rows scored by a run's student: how much would each help it?

Knows which stages that takes, and the file that scores are written to when all are there. They are stages like others:
each score is kept as it comes, and the same command goes on where it was. How influence is measured is in
`pipelines.influence`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster import demands
from cluster.profile import Profile
from pipelines.core import lock, runner
from pipelines.core.config import Probe
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import STUDENT, AnyRecipe, StudentRecipe
from pipelines.core.records import Influence, InfluenceMethod, TrainExample
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.influence.agreement import Agreement
from pipelines.recipes.probing import ProbeStages
from serving.faculty import ClusterFaculty

KEY = "student.probe"


@dataclass(frozen=True)
class Scores:
    """What was written, and what is to be said of it."""

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
    profile: Profile | None = None,
) -> Scores:
    """Score the rows and write them to `out`. UserError for what is not there or cannot be."""
    recipe, config = probed(recipe, method)
    if profile is not None:
        demands.check(recipe, profile, KEY)
    folder = Folder(runs)
    if not any(planned.stage.name == STUDENT and planned.done for planned in runner.plan(stages, folder)):
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    with closing(ClusterFaculty(recipe, address, say=progress.note, profile=profile)) as faculty:
        made = ProbeStages(KEY, config, recipe, faculty)
        by_name = {stage.name: stage for stage in stages}
        given, reference = made.given(rows), made.reference(by_name)
        scored = made.influence("influence", given, reference, by_name[STUDENT])
        wanted = [*before(scored), scored]
        run_folder = folder.child(runner.run_name(f"{recipe.name}-probe", wanted))
        with lock.held(folder, run_folder.name, progress.note):
            done = {each.stage.name: each.done for each in runner.run(wanted, folder, run_folder, progress)}
    lines = list(_lines(done["probe_rows"], done["influence"], method))
    _write(Path(out).expanduser(), lines)
    dropped = Counter(line["dropped"] for line in lines if "dropped" in line)
    by_loss = f"Spearman correlation with the rows' own loss: {done['influence'].manifest['facts']['by_loss']:.3f}"
    told = [_reference_in_words(done["reference"]), by_loss, *_check_in_words(done["influence"], config)]
    return Scores(len(lines) - dropped.total(), dict(sorted(dropped.items())), told)


def probed(recipe: AnyRecipe, method: InfluenceMethod | None = None) -> tuple[StudentRecipe, Probe]:
    """The recipe and what its student is probed by. UserError where that is not said."""
    config = recipe.student.probe if isinstance(recipe, StudentRecipe) else None
    if not isinstance(recipe, StudentRecipe) or config is None:
        raise UserError(
            "the recipe has no student.probe, so nobody knows what its student should be good at; write for example "
            "student.probe: {reference: {path: FILE, limit: 256}}"
        )
    method = method or config.method
    try:
        config.check(method)
    except ValueError as error:
        raise UserError(f"--method {method}: {error}") from error
    return recipe, config.model_copy(update={"method": method})


def before(stage: Stage) -> list[Stage]:
    """All that a stage is made from, in order."""
    found: dict[str, Stage] = {}
    for parent in stage.inputs.values():
        found |= {each.key: each for each in [*before(parent), parent]}
    return list(found.values())


def _lines(rows: Done, scores: Done, method: InfluenceMethod) -> Iterator[dict[str, Any]]:
    """A line for each row, the scored ones first and in the order of their file."""
    names = {row.id: row.answer_id for row in rows_of(rows.folder, TrainExample)}
    student = scores.manifest["inputs"]["student"]["digest"]
    found = {row.row_id: row for row in rows_of(scores.folder, Influence) if row.method == method}
    for id, name in names.items():
        if id in found:
            figures = {k: v for k, v in asdict(found[id]).items() if k not in ("id", "row_id")}
            yield {"id": name, **figures, "student": student}
    for row in dropped_of(rows.folder):
        yield {"id": row.id, "dropped": row.reason, "detail": row.detail}
    for row in dropped_of(scores.folder):
        if row.id in names:  # else it is the second measurement of a row
            yield {"id": names[row.id], "dropped": row.reason, "detail": row.detail}


def _write(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    partial.replace(file)


def _reference_in_words(reference: Done) -> str:
    told = reference.manifest
    left_out = ", ".join(f"{count} {reason}" for reason, count in told["dropped"].items())
    return f"reference: {told['rows']} rows" + (f"; left out: {left_out}" if left_out else "")


def _check_in_words(scores: Done, config: Probe) -> list[str]:
    told = scores.manifest["facts"]["self_check"]
    return [Agreement(**told).in_words(config.self_check.spearman)] if told else []
