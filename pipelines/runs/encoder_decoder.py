"""What a student with an encoder cannot do here, told before anything starts.

Knows recipes and models' config.json. An encoder's text carries no loss, and vLLM runs no such model: whatever needs
either is refused in words.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.models import Model
from pipelines.core.config import GivenStudent, Learn, LocalTeacher
from pipelines.core.errors import UserError
from pipelines.core.recipe import Distil, Montessori, StudentRecipe, signal_teachers
from serving.faculty import ClusterFaculty

Header = Mapping[str, Any]
READS_WITHOUT_LOSS = "an encoder-decoder learns answers only, as what its encoder reads carries no loss"


def check(recipe: StudentRecipe, faculty: ClusterFaculty, header: Callable[[Model], Header]) -> None:
    """UserError for what cannot be. `header` is a model's config.json, empty where it is not known yet."""
    model = faculty.origin(recipe.student.init)
    student = header(model)
    if not student:
        return
    for name in signal_teachers(recipe.student):
        spec = recipe.teachers[name]
        theirs = header(faculty.model(name)) if isinstance(spec, LocalTeacher) else {}
        if theirs and has_encoder(theirs) != has_encoder(student):
            raise UserError(
                f"student.signals names {name!r}: of the student and this teacher one is an encoder-decoder and the "
                "other is not, so they do not read alike; name a teacher of the student's kind"
            )
    if has_encoder(student) and (words := next(_refused(recipe, student), None)):
        raise UserError(f"{words} (student.init: {model.ref} is an encoder-decoder)")


def has_encoder(header: Header) -> bool:
    return bool(header.get("is_encoder_decoder"))


def learns_prompts(learn: Learn) -> bool:
    """Whether others' words than the assistant's are to carry loss."""
    return learn.method != "sft" or bool(learn.prompt_weight)


def _refused(recipe: StudentRecipe, student: Header) -> Iterator[str]:
    """What this recipe asks for in vain, each in words."""
    init, learn, train = recipe.student.init, recipe.student.learn, recipe.student.train
    if isinstance(recipe, Distil):
        yield "method: 'distil' evaluates its student through vLLM, which runs no such model; use `method: tune`"
    if isinstance(recipe, Montessori):
        yield "method: 'montessori' renders what teachers write for models with one stack of layers; take one of those"
    if not isinstance(init, GivenStudent):
        yield f"student.init.kind: {init.kind!r} is for models with one stack of layers; use `kind: model`"
    if learns_prompts(learn):
        yield f"student.learn: {READS_WITHOUT_LOSS}; use `method: sft` without a prompt_weight"
    if train.needs_signals:
        yield (
            "student.train.losses: 'kd' is captured through vLLM, which runs no such model; use `kd: {source: online}` "
            "with a teacher that is an encoder-decoder too, or drop 'kd'"
        )
    if train.has("attention"):
        yield "student.train.losses: 'attention' is compared between causal models only; drop it"
    if train.neftune_alpha:
        yield "student.train.neftune_alpha: noise is for causal models only; drop it"
    if train.frozen_layers:
        yield "student.train.frozen_layers: it is for models with one stack of layers; freeze_embeddings, or use lora"
    if recipe.student.engine.quantization or recipe.student.engine.gpus > 1:
        yield "student.engine: quantization and several GPUs are vLLM's, which runs no such model; drop them"
    if train.max_length > (most := student.get("max_position_embeddings", train.max_length)):
        yield f"student.train.max_length: {train.max_length} is more than the {most} positions that the model has"
