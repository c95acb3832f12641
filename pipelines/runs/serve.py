"""Teacher and student behind one address, until Ctrl-C.

Knows a run's finished student and its teacher. Keys and limits are not here yet: the address is loopback only.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing

from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import VLLMTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe, Distil, StudentRecipe, signal_teachers
from pipelines.core.stage import Stage
from pipelines.core.storage import Folder
from pipelines.train.student import model_of
from serving.endpoints import Served
from serving.faculty import ClusterFaculty


def serve(
    recipe: AnyRecipe,
    stages: Sequence[Stage],
    runs: str,
    address: str | None,
    port: int | None,
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted. UserError where the run has no student yet."""
    if not isinstance(recipe, StudentRecipe):
        raise UserError(f"{recipe.name!r} has the method {recipe.method!r}, which trains no student to serve")
    models = _models(recipe, stages, Folder(runs))
    faculty = ClusterFaculty(recipe, address, say=say)
    with closing(faculty):
        faculty.hold_port(port)
        say(f"starting {' and '.join(m.name for m in models)} ...")
        base_url = faculty.endpoints.up(models, at_root=True)
        say(f"\nOpenAI-compatible endpoint: {base_url}")
        say(f"models: {', '.join(m.name for m in models)} (this machine only; no key)")
        say(f'curl {base_url}/chat/completions -H "Content-Type: application/json" \\')
        say(f'  -d \'{{"model": "{models[-1].name}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'')
        say("\nCtrl-C stops it.")
        _wait()
        say("stopping ...")


def _models(recipe: StudentRecipe, stages: Sequence[Stage], runs: Folder) -> list[Served]:
    done = {p.stage.name: p.done for p in runner.plan(stages, runs)}
    student = done.get("student")
    if student is None:
        raise UserError(f"the student of {recipe.name!r} is not trained yet; run `tutelage run` first")
    if ChatTokenizer(str(model_of(student))).is_encoder_decoder:
        raise UserError(
            f"the student of {recipe.name!r} is an encoder-decoder, which vLLM does not run; transformers' "
            f"AutoModelForSeq2SeqLM loads its folder: {model_of(student)}"
        )
    models = [Served("student", model_of(student), student.manifest["digest"], recipe.student.engine)]
    # The teacher that its student is compared with, or else the first that it learnt from.
    names = [recipe.evaluate.teacher] if isinstance(recipe, Distil) else signal_teachers(recipe.student)
    spec = recipe.teachers[names[0]] if names else None
    if isinstance(spec, VLLMTeacher):
        model = ClusterFaculty(recipe).model(names[0])
        models.insert(0, Served("teacher", model.folder(), model.digest, spec.engine))
    return models


def _wait() -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    while not over.wait(1):
        pass
