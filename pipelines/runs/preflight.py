"""What can be known before any engine starts: models, token maps, memory, tokens.

Knows headers and tokenizers on disk (`local_facts`, quick) and how to reach the rest (`reach`). Every complaint
names the recipe's key and what to do.
"""

import shutil
from typing import Any

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import FakeTeacher, Given, GivenStudent, OwnAnswers, PrunedStudent
from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe, DataRecipe, Distil, Recipe
from pipelines.runs import estimates
from serving.faculty import ClusterFaculty

GIB = 2**30
LEAST_DISK_GIB = 3


def local_facts(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Facts in words from what is on this machine. UserError for what cannot work."""
    facts = [_model_fact(name, recipe, faculty) for name in recipe.teachers]
    _check_windows(recipe)
    _check_disk()
    facts += estimates.tokens(recipe)
    if isinstance(recipe, Distil):
        _check_layers(recipe, faculty)
        facts += [estimates.examples(recipe), *_memory_estimate(recipe, faculty)]
    return facts + [f"note: {note}" for note in recipe.notes]


def reach(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Make every model available here and compare token maps. UserError, in words, for a mismatch."""
    facts = []
    tokens_from = recipe.tokens_from if isinstance(recipe, Distil) else None
    for name in recipe.teachers:
        folder = faculty.model(name).folder()
        tokenizer = ChatTokenizer(str(folder))
        tokenizer.prompt_ids("Hello")  # the chat template answers
        if name == tokens_from and not tokenizer.closes_answers():
            raise UserError(
                f"teachers.{name}: the chat template of {folder} ends an answer with no special token, so a student "
                "could not learn to stop; give a model whose template closes the assistant's turn"
            )
        facts.append(f"teacher {name}: {folder}")
    if isinstance(recipe, Distil):
        _check_layers(recipe, faculty)
        _check_token_maps(recipe, faculty)
    if faculty.address is not None:
        facts.append(_cluster_fact(faculty))
    return facts


def parameters(header: dict[str, Any]) -> int:
    """Weights of a Llama-like decoder from its config.json (embedding counted once where tied)."""
    width, inner = header["hidden_size"], header["intermediate_size"]
    heads, kv_heads = header["num_attention_heads"], header.get("num_key_value_heads", header["num_attention_heads"])
    head = header.get("head_dim") or width // heads
    layer = 2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * inner
    embedding = header["vocab_size"] * width * (1 if header.get("tie_word_embeddings") else 2)
    return int(header["num_hidden_layers"] * layer + embedding)


def _cluster_fact(faculty: ClusterFaculty) -> str:
    """What the cluster has. UserError where it does not answer."""
    try:
        live = faculty.session
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--address {faculty.address}: no Ray cluster answers there: {error}") from error
    return f"cluster {live.address}: {live.gpus} GPUs"


def _model_fact(name: str, recipe: Recipe, faculty: ClusterFaculty) -> str:
    model = faculty.model(name)
    kind = "a fake teacher with the tokenizer of" if isinstance(recipe.teachers[name], FakeTeacher) else "vLLM,"
    header = model.header()
    if not header:
        return f"teacher {name}: {kind} {model.ref} (not unpacked or downloaded yet)"
    size = f"{header['num_hidden_layers']} layers, {header['vocab_size']:,} tokens"
    return f"teacher {name}: {kind} {model.ref}: {size}, {parameters(header) / 1e6:,.0f} M parameters"


def _check_layers(recipe: Distil, faculty: ClusterFaculty) -> None:
    init = recipe.student.init
    if isinstance(init, PrunedStudent) and (header := faculty.model(init.teacher).header()):
        layers = header["num_hidden_layers"]
        if init.layers >= layers:
            raise UserError(f"student.init.layers: {init.layers} is not fewer than the teacher's {layers}")


def _check_windows(recipe: DataRecipe) -> None:
    sections = {"instructions": recipe.instructions, "instances": recipe.instances, "answers": recipe.answers}
    for where, section in sections.items():
        if section is None or isinstance(section, Given | OwnAnswers):
            continue
        spec, wanted = recipe.teachers[section.teacher], section.sampling.max_tokens
        if not isinstance(spec, FakeTeacher) and wanted >= spec.engine.max_model_len:
            raise UserError(
                f"{where}.sampling.max_tokens ({wanted}) leaves no room for a prompt in "
                f"teachers.{section.teacher}.engine.max_model_len ({spec.engine.max_model_len})"
            )


def _check_token_maps(recipe: Distil, faculty: ClusterFaculty) -> None:
    """A student that learns a teacher's distributions must have the teacher's tokens."""
    if not isinstance(recipe.student.init, GivenStudent):
        return
    mine = ChatTokenizer(recipe.student.init.model).vocabulary()
    for name in {recipe.tokens_from, recipe.student.signals} - {None}:
        theirs = faculty.tokenizer(str(name)).vocabulary()
        different = [t for t, id in theirs.items() if mine.get(t, id) != id or t not in mine]
        if different and recipe.student.signals == name:
            raise UserError(
                f"student.init.model and teachers.{name}.model have different tokens ({len(different):,} of "
                f"{len(theirs):,}, for example {different[0]!r}), so the teacher's distributions mean nothing to the "
                f"student. Take a student of the same family, or drop 'kd' from student.train.losses"
            )


def _check_disk() -> None:
    if (free := shutil.disk_usage(".").free / GIB) < LEAST_DISK_GIB:
        raise UserError(f"only {free:.1f} GiB of disk are free here; a run needs about {LEAST_DISK_GIB}")


def _memory_estimate(recipe: Distil, faculty: ClusterFaculty) -> list[str]:
    """Bytes, roughly: served weights in 16 bits; training in mixed precision at 16 bytes a parameter."""
    init, train = recipe.student.init, recipe.student.train
    header = faculty.model(init.teacher).header() if isinstance(init, PrunedStudent) else {}
    if not header or not isinstance(init, PrunedStudent):
        return []
    teacher, student = parameters(header), parameters({**header, "num_hidden_layers": init.layers})
    sharded = train.workers if train.zero_stage else 1
    return [
        f"memory: teacher engine about {2 * teacher / GIB + 1.5:.1f} GiB; student {student / 1e6:,.0f} M parameters, "
        f"about {16 * student / GIB / sharded:.1f} GiB per training worker, before activations"
    ]
