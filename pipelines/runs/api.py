"""What the command line does, as Python calls: `load`, `plan`, `run`.

Knows how a recipe becomes stages and a run's folder. Does not print; `cli.py` does.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster.profile import Profile
from pipelines.core import lock, recipe_file, runner
from pipelines.core.errors import UserError
from pipelines.core.progress import Budget, Progress
from pipelines.core.recipe import AnyRecipe, Compare, Distil, Generate, Montessori, TinyLLM, Tune, recipe_of
from pipelines.core.runner import Finished, Planned
from pipelines.core.stage import Stage
from pipelines.core.storage import Folder
from pipelines.recipes import compare, distil, generate, montessori, tinyllm, tune
from pipelines.runs import preflight
from serving.endpoints import held_port
from serving.faculty import ClusterFaculty

DEFAULT_RUNS = "runs"


@dataclass(frozen=True)
class Plan:
    """A recipe's stages and where they stand."""

    recipe: AnyRecipe
    run_folder: Folder
    stages: Sequence[Planned]
    facts: Sequence[str]  # what is known of models, memory and tokens, in words


@dataclass(frozen=True)
class Ran:
    """A finished run."""

    recipe: AnyRecipe
    run_folder: Folder
    stages: Sequence[Finished]


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> AnyRecipe:
    """A recipe by file or shipped name, checked. UserError names key, file and line."""
    return recipe_file.load(recipe, overrides)


def stages_of(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[Stage]:
    """A recipe's stages by its method. UserError for a file or model that is not there."""
    match recipe:
        case Compare():
            return compare.stages(recipe, faculty)
        case Distil():
            return distil.stages(recipe, faculty)
        case Generate():
            return generate.stages(recipe, faculty)
        case Montessori():
            return montessori.stages(recipe, faculty)
        case TinyLLM():
            return tinyllm.stages(recipe, faculty)
        case Tune():
            return tune.stages(recipe, faculty)


def plan(recipe: AnyRecipe, runs: str = DEFAULT_RUNS, profile: Profile | None = None) -> Plan:
    """What a run would do. Local facts only; starts nothing and imports nothing heavy.

    UserError where a cluster of this profile could never do it.
    """
    faculty = ClusterFaculty(recipe, profile=profile)
    stages = stages_of(recipe, faculty)
    folder = Folder(runs)
    facts = preflight.local_facts(recipe, faculty)
    return Plan(recipe, folder.child(runner.run_name(recipe.name, stages)), runner.plan(stages, folder), facts)


def check(
    recipe: AnyRecipe,
    runs: str = DEFAULT_RUNS,
    address: str | None = None,
    port: int | None = None,
    profile: Profile | None = None,
) -> list[str]:
    """Reach everything that a run will need, before any engine starts. UserError for what is not there."""
    runner.ready_folder(Folder(runs))
    faculty = ClusterFaculty(recipe, address, say=lambda _: None, profile=profile)  # it is up for a look only
    with held_port(port), closing(faculty):
        return preflight.reach(recipe, faculty)


def run(
    recipe: AnyRecipe,
    runs: str = DEFAULT_RUNS,
    address: str | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
    port: int | None = None,
    profile: Profile | None = None,
) -> Ran:
    """Do what is not done yet, and write the report. Goes on where an earlier call ended, however it ended."""
    progress = progress or Progress(budget or Budget())
    folder = Folder(runs)
    faculty = ClusterFaculty(recipe, address, say=progress.note, profile=profile)
    stages = stages_of(recipe, faculty)
    run_folder = folder.child(runner.run_name(recipe.name, stages))
    faculty.count_nodes(run_folder, lambda: progress.label)
    runner.ready_folder(folder)
    with closing(faculty), lock.held(folder, run_folder.name, progress.note):
        if any(planned.state != "done" for planned in runner.plan(stages, folder)):
            check(recipe, runs, address, port, profile)
            faculty.hold_port(port)
        run_folder.write_bytes("recipe.yaml", recipe_file.dump(recipe).encode())
        with _logged(run_folder):
            finished = runner.run(stages, folder, run_folder, progress)
    return Ran(recipe, run_folder, finished)


def open_run(
    name: str, runs: str = DEFAULT_RUNS, overrides: Sequence[str] = ()
) -> tuple[AnyRecipe, Folder, list[Stage]]:
    """A run by its folder's name, or by a recipe: (recipe, run folder, stages). UserError where it is not there."""
    folder = Folder(runs)
    bare = name.rstrip("/").rsplit("/", 1)[-1]
    if bare in folder.folders() and folder.child(bare).exists("recipe.yaml"):
        if overrides:
            raise UserError(f"--set changes a recipe, and {name!r} is a run that is made")
        recipe = recipe_of(yaml.safe_load(folder.child(bare).read_bytes("recipe.yaml")))
    else:
        recipe = _recipe_or_complain(name, folder, overrides)
    stages = stages_of(recipe, ClusterFaculty(recipe))
    return recipe, folder.child(runner.run_name(recipe.name, stages)), stages


def _recipe_or_complain(name: str, folder: Folder, overrides: Sequence[str]) -> AnyRecipe:
    try:
        return load(name, overrides)
    except UserError as error:
        runs = [f for f in folder.folders() if f.startswith("run-")]
        raise UserError(
            f"{name!r} is neither a run in {folder.uri} ({', '.join(runs) or 'there is none'}) nor: {error}"
        ) from error


@contextmanager
def _logged(run_folder: Folder) -> Iterator[None]:
    """The driver's own log goes to the run's folder, not to the terminal."""
    if not run_folder.is_local:
        yield
        return
    handler = logging.FileHandler(run_folder.child("logs").local_path() / "driver.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
