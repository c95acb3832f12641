"""A run's models behind one address, with a page for them, or the student's probe, until Ctrl-C.

Knows a run's finished student, its teacher, and what the student should be good at. Who may come in is the door's.
"""

import json
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from cluster import demands
from cluster.profile import Profile
from pipelines.core import lock, runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.recipe import (
    STUDENT,
    AnyRecipe,
    Compare,
    Distil,
    Montessori,
    StudentRecipe,
    TinyLLM,
    signal_teachers,
)
from pipelines.core.stage import Done, Stage
from pipelines.core.storage import Folder
from pipelines.recipes.probing import ProbeStages
from pipelines.runs import browsing, served
from pipelines.runs.probe import KEY, before, probed
from pipelines.runs.served_with import ALL, Wanted
from pipelines.train.student import model_of
from serving import deployment
from serving.deployment import Deployment
from serving.door import Door
from serving.endpoints import DEFAULT_PORT
from serving.faculty import ClusterFaculty
from serving.served import Served
from serving.shown import RowsFile, kept

HELLO_PROBE = {"instruction": "Name a colour.", "response": "Blue."}
Say = Callable[[str], None]


def serve(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    runs: str,
    address: str | None,
    port: int | None,
    door: Door,
    say: Say,
    wanted: Wanted = ALL,
    profile: Profile | None = None,
) -> None:
    """Serve the models that are wanted until interrupted. UserError where the run has none yet."""
    models = wanted.of(_models_of(recipe, stages, Folder(runs), say))
    _check_room(models, profile)
    rows = _rows(recipe, stages, Folder(runs))
    faculty = ClusterFaculty(recipe, address, say=say, door=door, profile=profile)
    with closing(faculty):
        faculty.hold_port(port)
        say(f"starting {' and '.join(m.name for m in models)} ...")
        base_url = faculty.endpoints.up(models, at_root=True, rows=rows)
        say(f"\nOpenAI-compatible endpoint: {base_url}")
        say(f"models: {', '.join(name for m in models for name in m.names)} ({door.words})")
        if asleep := [model.name for model in models if model.replicas.min == 0]:
            say(f"{', '.join(asleep)}: the engine starts with the first request, which waits for it")
        if not _is_encoder_decoder(models[-1]):
            say(f"to compare them in a browser: {base_url.removesuffix('v1')}")
        path, body = _hello(models[-1])
        _serve_on(f"{base_url}/{path}", body, door, say)


def write_down(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    runs: str,
    port: int | None,
    door: Door,
    say: Say,
    wanted: Wanted,
    file: Path,
    profile: Profile | None = None,
) -> None:
    """What would be served, as a file for `serve deploy`. Starts nothing."""
    models = wanted.of(_models_of(recipe, stages, Folder(runs), say))
    _check_room(models, profile)
    rows = _rows(recipe, stages, Folder(runs))
    written = Deployment(models=tuple(models), door=door, rows=rows, profile=profile)
    text = yaml.safe_dump(deployment.config(written, port or DEFAULT_PORT), sort_keys=False)
    file.write_text(text, encoding="utf-8")
    say(f"{file} is written: serve deploy {file}")


def serve_probe(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    runs: str,
    address: str | None,
    port: int | None,
    door: Door,
    say: Say,
    profile: Profile | None = None,
) -> None:
    """Serve the student's probe until interrupted, with the reference set that is made first where it is not there.

    UserError where the recipe has no reference set, or the run no student yet.
    """
    from serving.influence import ServedProbe, up

    recipe, config = probed(recipe)
    if profile is not None:
        demands.check(recipe, profile, KEY)
    folder, progress = Folder(runs), Progress()
    student = _student(recipe, stages, folder)
    faculty = ClusterFaculty(recipe, address, say=say, door=door, profile=profile)
    with closing(faculty):
        faculty.hold_port(port)
        made = ProbeStages(KEY, config, recipe, faculty)
        reference = made.reference({stage.name: stage for stage in stages})
        wanted = [*before(reference), reference]
        run_folder = folder.child(runner.run_name(f"{recipe.name}-probe", wanted))
        with lock.held(folder, run_folder.name, say):
            *_, finished = runner.run(wanted, folder, run_folder, progress)
        say("starting the student's probe ...")
        url = up(faculty.endpoints, ServedProbe(config, student, finished.done, made.encoder()))
        say(f"\nthe student's probe: {url} ({door.words})")
        _serve_on(url, HELLO_PROBE, door, say)


def _check_room(models: Sequence[Served], profile: Profile | None) -> None:
    """UserError where the cluster could never hold them all."""
    if profile is not None:
        demands.check_served(((m.name, m.role, m.engine, m.replicas.min) for m in models), profile)


def _serve_on(url: str, body: Mapping[str, Any], door: Door, say: Say) -> None:
    """Say how it is asked, and wait."""
    say(f'curl {url} -H "Content-Type: application/json" \\')
    if door.keys:
        say('  -H "Authorization: Bearer $TUTELAGE_KEY" \\')
    say(f"  -d '{json.dumps(body)}'")
    say("\nCtrl-C stops it.")
    _wait()
    say("stopping ...")


def _models_of(recipe: AnyRecipe, stages: Sequence[Stage], runs: Folder, say: Say) -> list[Served]:
    if isinstance(recipe, Compare):
        models, elsewhere = served.compared(recipe, stages, runs)
        for name in elsewhere:
            say(f"{name} is not served: it is a teacher of kind {recipe.teachers[name].kind}, not vllm")
        return models
    if not isinstance(recipe, StudentRecipe):
        raise UserError(f"{recipe.name!r} has the method {recipe.method!r}, which leaves no model to serve")
    return _models(recipe, stages, runs)


def _rows(recipe: AnyRecipe, stages: Sequence[Stage], runs: Folder) -> RowsFile:
    """What the page shows of the run, in its folder."""
    run_folder = runs.child(runner.run_name(recipe.name, stages))
    return kept(run_folder, *browsing.of_run(recipe, _done(stages, runs)))


def _models(recipe: StudentRecipe, stages: Sequence[Stage], runs: Folder) -> list[Served]:
    """Teacher, student before and after. An encoder-decoder is served alone."""
    student = _student(recipe, stages, runs)
    models = [Served("student", model_of(student), student.manifest["digest"], recipe.student.engine)]
    if _is_encoder_decoder(models[0]):
        return models
    done = _done(stages, runs)
    models.insert(0, served.before(recipe, done))
    # The teacher that its student is compared with, or else the first that it learnt from.
    names = _taught_by(recipe)
    spec = recipe.teachers[names[0]] if names else None
    if isinstance(spec, VLLMTeacher):
        models.insert(0, _teacher(recipe, names[0], spec, done))
    return models


def _teacher(recipe: StudentRecipe, name: str, spec: VLLMTeacher, done: Mapping[str, Done]) -> Served:
    """As the recipe has it, or as its last round left it."""
    if isinstance(recipe, Montessori):
        tuned = done[f"teacher_{recipe.rounds.count}"]
        return Served("teacher", model_of(tuned), tuned.manifest["digest"], spec.engine, role="teacher")
    model = ClusterFaculty(recipe).model(name)
    return Served("teacher", model.folder(), model.digest, spec.engine, role="teacher")


def _done(stages: Sequence[Stage], runs: Folder) -> dict[str, Done]:
    return {planned.stage.name: planned.done for planned in runner.plan(stages, runs) if planned.done}


def _student(recipe: StudentRecipe, stages: Sequence[Stage], runs: Folder) -> Done:
    student = _done(stages, runs).get(STUDENT)
    if student is None:
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    return student


def _hello(model: Served) -> tuple[str, dict[str, Any]]:
    """(path, body) of a first request. An encoder-decoder of ours writes greedily, and reads no chats."""
    if _is_encoder_decoder(model):
        return "completions", {"model": model.name, "prompt": "Hello", "max_tokens": 32, "temperature": 0}
    return "chat/completions", {"model": model.name, "messages": [{"role": "user", "content": "Hello"}]}


def _is_encoder_decoder(model: Served) -> bool:
    """Such a model is served alone (`serving/encoder_decoder.py`)."""
    return ChatTokenizer(str(model.folder)).is_encoder_decoder


def _taught_by(recipe: StudentRecipe) -> list[str]:
    match recipe:
        case Distil():
            return [recipe.evaluate.teacher]
        case Montessori():
            return [recipe.teacher]
        case TinyLLM():
            return [source.teacher for source in recipe.asked.values()]
        case _:
            return signal_teachers(recipe.student)


def _wait() -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        pass
