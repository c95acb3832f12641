"""A run's models behind one address, with a page for them, or the student's probe, until Ctrl-C.

Knows what a client is told, and what the student should be good at. Which models a run has is in `served.py`; who may
come in is the door's.
"""

import json
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster import demands
from cluster.profile import Profile
from pipelines.core import lock, runner
from pipelines.core.progress import Progress
from pipelines.core.recipe import AnyRecipe
from pipelines.core.stage import Stage
from pipelines.core.storage import Folder
from pipelines.recipes.probing import ProbeStages
from pipelines.runs import browsing
from pipelines.runs.probe import KEY, before, probed
from pipelines.runs.served import done, is_encoder_decoder, models_of, trained
from pipelines.runs.served_with import ALL, Wanted
from serving import deployment
from serving.deployment import Deployment
from serving.door import Door
from serving.endpoints import DEFAULT_PORT
from serving.faculty import ClusterFaculty
from serving.served import Served
from serving.shown import RowsFile, kept

HELLO_PROBE = {"instruction": "Name a colour.", "response": "Blue."}
Say = Callable[[str], None]


@dataclass(frozen=True)
class ToServe:
    """A run, where what it made is to be served, and who is told."""

    recipe: AnyRecipe
    stages: Sequence[Stage]
    runs: str
    door: Door
    say: Say
    port: int | None = None
    address: str | None = None
    profile: Profile | None = None

    @property
    def folder(self) -> Folder:
        return Folder(self.runs)

    @property
    def rows(self) -> RowsFile:
        """What the page shows of the run, in its folder."""
        run_folder = self.folder.child(runner.run_name(self.recipe.name, self.stages))
        return kept(run_folder, *browsing.of_run(self.recipe, done(self.stages, self.folder)))

    def faculty(self) -> ClusterFaculty:
        return ClusterFaculty(self.recipe, self.address, say=self.say, door=self.door, profile=self.profile)

    def models(self, wanted: Wanted) -> list[Served]:
        """UserError where the run has none yet, and where the cluster could never hold them all."""
        models = wanted.of(models_of(self.recipe, self.stages, self.folder, self.say))
        if self.profile is not None:
            demands.check_served(((m.name, m.role, m.engine, m.replicas.min) for m in models), self.profile)
        return models


def serve(run: ToServe, wanted: Wanted = ALL) -> None:
    """Serve the models that are wanted until interrupted. UserError where the run has none yet."""
    models, say = run.models(wanted), run.say
    rows, faculty = run.rows, run.faculty()
    with closing(faculty):
        faculty.hold_port(run.port)
        say(f"starting {' and '.join(m.name for m in models)} ...")
        base_url = faculty.endpoints.up(models, at_root=True, rows=rows)
        say(f"\nOpenAI-compatible endpoint: {base_url}")
        say(f"models: {', '.join(name for m in models for name in m.names)} ({run.door.words})")
        if asleep := [model.name for model in models if model.replicas.min == 0]:
            say(f"{', '.join(asleep)}: the engine starts with the first request, which waits for it")
        if not is_encoder_decoder(models[-1]):
            say(f"to compare them in a browser: {base_url.removesuffix('v1')}")
        path, body = _hello(models[-1])
        _serve_on(f"{base_url}/{path}", body, run)


def write_down(run: ToServe, wanted: Wanted, file: Path) -> None:
    """What would be served, as a file for `serve deploy`. Starts nothing."""
    models = tuple(run.models(wanted))
    written = Deployment(models=models, door=run.door, rows=run.rows, profile=run.profile)
    text = yaml.safe_dump(deployment.config(written, run.port or DEFAULT_PORT), sort_keys=False)
    file.write_text(text, encoding="utf-8")
    run.say(f"{file} is written: serve deploy {file}")


def serve_probe(run: ToServe) -> None:
    """Serve the student's probe until interrupted, with the reference set that is made first where it is not there.

    UserError where the recipe has no reference set, or the run no student yet.
    """
    from serving.influence import ServedProbe, up

    recipe, config = probed(run.recipe)
    if run.profile is not None:
        demands.check(recipe, run.profile, KEY)
    folder, faculty = run.folder, run.faculty()
    student = trained(recipe, run.stages, folder)
    with closing(faculty):
        faculty.hold_port(run.port)
        made = ProbeStages(KEY, config, recipe, faculty)
        reference = made.reference({stage.name: stage for stage in run.stages})
        wanted = [*before(reference), reference]
        run_folder = folder.child(runner.run_name(f"{recipe.name}-probe", wanted))
        with lock.held(folder, run_folder.name, run.say):
            *_, finished = runner.run(wanted, folder, run_folder, Progress())
        run.say("starting the student's probe ...")
        url = up(faculty.endpoints, ServedProbe(config, student, finished.done, made.encoder()))
        run.say(f"\nthe student's probe: {url} ({run.door.words})")
        _serve_on(url, HELLO_PROBE, run)


def _serve_on(url: str, body: Mapping[str, Any], run: ToServe) -> None:
    """Say how it is asked, and wait."""
    run.say(f'curl {url} -H "Content-Type: application/json" \\')
    if run.door.keys:
        run.say('  -H "Authorization: Bearer $TUTELAGE_KEY" \\')
    run.say(f"  -d '{json.dumps(body)}'")
    run.say("\nCtrl-C stops it.")
    _wait()
    run.say("stopping ...")


def _hello(model: Served) -> tuple[str, dict[str, Any]]:
    """(path, body) of a first request. An encoder-decoder of ours writes greedily, and reads no chats."""
    if is_encoder_decoder(model):
        return "completions", {"model": model.name, "prompt": "Hello", "max_tokens": 32, "temperature": 0}
    return "chat/completions", {"model": model.name, "messages": [{"role": "user", "content": "Hello"}]}


def _wait() -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        pass
