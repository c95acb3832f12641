"""What can be known before any engine starts: models, token maps, memory, tokens.

Knows headers and tokenizers on disk (`local_facts`, quick) and how to reach the rest (`reach`). Every complaint
names the recipe's key and what to do.
"""

import re
import shutil
from collections.abc import Mapping
from typing import Any

from cluster.models import Model, resolve
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import (
    Answers,
    Evolved,
    FakeTeacher,
    Given,
    GivenStudent,
    Instructions,
    OwnAnswers,
    PrunedStudent,
    VLLMTeacher,
)
from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe, DataRecipe, Distil, Recipe
from pipelines.generate import seeds
from pipelines.generate.prompts import InstructionPrompt, Prompt
from pipelines.runs import estimates
from serving.faculty import ClusterFaculty

GIB = 2**30
LEAST_DISK_GIB = 3
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)


def local_facts(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Facts in words from what is on this machine. UserError for what cannot work."""
    facts = [_model_fact(name, recipe, faculty) for name in recipe.teachers]
    _check_windows(recipe)
    _check_disk()
    tasks = len(seeds.read(seeds.seed_file(recipe.seeds), recipe.seeds.reader)[0])
    sizes = {name: size(faculty.model(name)) for name in recipe.teachers}
    student = 0
    facts += estimates.in_words(recipe, tasks)
    if isinstance(recipe, Distil):
        _check_layers(recipe, faculty)
        student = _student_size(recipe, faculty)
        facts += _memory_estimate(recipe, sizes, student)
    facts.append(estimates.gpu_hours(recipe, tasks, sizes, student))
    return [fact for fact in facts if fact] + [f"note: {note}" for note in recipe.notes]


def reach(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Make every model available here and compare token maps. UserError, in words, for a mismatch."""
    facts = []
    tokens_from = recipe.tokens_from if isinstance(recipe, Distil) else None
    for name in recipe.teachers:
        folder = faculty.model(name).folder()
        tokenizer = ChatTokenizer(str(folder))
        if name in _asked_in_chat(recipe):
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


def _asked_in_chat(recipe: AnyRecipe) -> set[str]:
    """The teachers that need a chat template; a base model that only goes on with documents needs none."""
    config, asked = recipe.instructions, set()
    if isinstance(config, Instructions) and InstructionPrompt.load(config.prompt).is_chat:
        asked.add(config.teacher)
    if isinstance(config, Evolved):
        ways = (Prompt.load(way, "instructions.ways", ["task"]) for way in config.ways)
        asked |= {config.teacher for way in ways if way.is_chat}
    if isinstance(recipe.answers, Answers):
        asked.add(recipe.answers.teacher)
    return asked | ({recipe.evaluate.teacher, recipe.tokens_from} if isinstance(recipe, Distil) else set())


def parameters(header: dict[str, Any]) -> int:
    """Weights of a Llama-like decoder from its config.json (embedding counted once where tied)."""
    width, inner = header["hidden_size"], header["intermediate_size"]
    heads, kv_heads = header["num_attention_heads"], header.get("num_key_value_heads", header["num_attention_heads"])
    head = header.get("head_dim") or width // heads
    layer = 2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * inner
    embedding = header["vocab_size"] * width * (1 if header.get("tie_word_embeddings") else 2)
    return int(header["num_hidden_layers"] * layer + embedding)


def size(model: Model) -> int:
    """Parameters from the model's header or, where it is not here yet, from its name (`Llama-3.1-70B`); 0: unknown."""
    if header := model.header():
        return parameters(header)
    named = _SIZE.search(model.ref)
    return int(float(named[1]) * {"b": 1e9, "m": 1e6}[named[2].lower()]) if named else 0


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
        by_name = f", {size(model) / 1e9:g} B parameters by its name" if size(model) else ""
        return f"teacher {name}: {kind} {model.ref} (not unpacked or downloaded yet{by_name})"
    shape = f"{header['num_hidden_layers']} layers, {header['vocab_size']:,} tokens"
    return f"teacher {name}: {kind} {model.ref}: {shape}, {parameters(header) / 1e6:,.0f} M parameters"


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
    mine = ChatTokenizer(str(resolve(recipe.student.init.model, "student.init.model").folder())).vocabulary()
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


def _student_size(recipe: Distil, faculty: ClusterFaculty) -> int:
    init = recipe.student.init
    if isinstance(init, GivenStudent):
        return size(resolve(init.model, "student.init.model"))
    header = faculty.model(init.teacher).header()
    return parameters({**header, "num_hidden_layers": init.layers}) if header else 0


def _memory_estimate(recipe: Distil, sizes: Mapping[str, int], student: int) -> list[str]:
    """Bytes, roughly: served weights in 16 bits; training in mixed precision at 16 bytes a parameter."""
    facts = []
    for name, spec in recipe.teachers.items():
        if isinstance(spec, VLLMTeacher) and sizes[name]:
            parts = spec.engine.tensor_parallel_size
            each = f" on each of {parts} GPUs" if parts > 1 else ""
            facts.append(f"memory: {name}'s engine about {2 * sizes[name] / GIB / parts + 1.5:.1f} GiB{each}")
    train = recipe.student.train
    if student:
        worker = 16 * student / GIB / (train.workers if train.zero_stage else 1)
        facts.append(
            f"memory: student {student / 1e6:,.0f} M parameters, about {worker:.1f} GiB per training worker, before "
            "activations"
        )
    return facts
