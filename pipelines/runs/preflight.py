"""What can be known before any engine starts: models, token maps, memory, tokens.

Knows headers and tokenizers on disk (`local_facts`, quick) and how to reach the rest (`reach`). Every complaint
names the recipe's key and what to do.
"""

import asyncio
import shutil
from typing import Any

from cluster.models import Model
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import (
    FakeTeacher,
    Given,
    HTTPTeacher,
    Instructions,
    PrunedStudent,
    RecordedTeacher,
    VLLMTeacher,
)
from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe, DataRecipe, Distil, Recipe
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.teacher import Request, RequestFailed, score_request
from serving.api import Api
from serving.client import address
from serving.faculty import ClusterFaculty

GIB = 2**30
GREETING_TOKENS = 16  # some APIs refuse fewer
GREETING_S = 60.0
LEAST_DISK_GIB = 3


def local_facts(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Facts in words from what is on this machine. UserError for what cannot work."""
    facts = [f"teacher {name}: {_teacher_fact(name, recipe, faculty)}" for name in recipe.teachers]
    _check_windows(recipe)
    _check_prompts(recipe)
    _check_disk()
    facts.append(_written_tokens(recipe))
    if isinstance(recipe, Distil):
        _check_layers(recipe, faculty)
        facts += [_examples(recipe), *_memory_estimate(recipe, faculty)]
    return facts + [f"note: {note}" for note in recipe.notes]


def reach(recipe: AnyRecipe, faculty: ClusterFaculty) -> list[str]:
    """Make every model available here and compare token maps. UserError, in words, for a mismatch."""
    _check_prompts(recipe)
    facts = [f"teacher {name}: {_reach_teacher(name, recipe, faculty)}" for name in recipe.teachers]
    if isinstance(recipe, Distil):
        _check_template(recipe, faculty)
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


def _teacher_fact(name: str, recipe: Recipe, faculty: ClusterFaculty) -> str:
    match recipe.teachers[name]:
        case HTTPTeacher() as spec:
            return f"{spec.model} at {spec.base_url}, not asked yet"
        case RecordedTeacher():
            return f"recorded, {faculty.record(name).words()}"
        case FakeTeacher():
            return f"a fake teacher with the tokenizer of {_model_fact(faculty.model(name))}"
        case VLLMTeacher():
            return f"vLLM, {_model_fact(faculty.model(name))}"


def _model_fact(model: Model) -> str:
    header = model.header()
    if not header:
        return f"{model.ref} (not unpacked or downloaded yet)"
    size = f"{header['num_hidden_layers']} layers, {header['vocab_size']:,} tokens"
    return f"{model.ref}: {size}, {parameters(header) / 1e6:,.0f} M parameters"


def _reach_teacher(name: str, recipe: AnyRecipe, faculty: ClusterFaculty) -> str:
    """Where it is, now that it is known to be there."""
    match recipe.teachers[name]:
        case HTTPTeacher() as spec:
            return asyncio.run(_greet(name, spec, recipe, faculty))
        case RecordedTeacher():
            return f"recorded, {faculty.record(name).words()}"
        case FakeTeacher() | VLLMTeacher():
            folder = faculty.model(name).folder()
            ChatTokenizer(str(folder)).prompt_ids("Hello")  # the chat template answers
            return str(folder)


async def _greet(name: str, spec: HTTPTeacher, recipe: AnyRecipe, faculty: ClusterFaculty) -> str:
    """Ask an API for a few tokens, and to score them where it will be asked to: a run's first mistake is cheap."""
    hasty = spec.model_copy(update={"retries": min(1, spec.retries), "timeout_s": min(GREETING_S, spec.timeout_s)})
    sampling = recipe.answers.sampling.model_copy(update={"max_tokens": GREETING_TOKENS})
    hello = Request("greeting", "Hello, who are you?", spec.api != "completions", sampling)
    async with Api(address(name, hasty)) as api:
        teacher = faculty.hosted(name, api)
        try:
            said = await teacher.write(hello)
            if isinstance(recipe, Distil) and recipe.student.signals == name:
                ids = hello.prompt_ids(faculty.tokenizer(name))
                top_k = recipe.student.train.top_k
                await teacher.score(score_request(faculty.identity(name), hello.id, ids, [len(ids) - 1], top_k))
        except RequestFailed as error:
            raise UserError(f"teachers.{name}.base_url: a first request to {spec.base_url} failed: {error}") from error
    return f"{spec.model} at {spec.base_url}, answered in {said.seconds:.1f} s"


def _check_prompts(recipe: DataRecipe) -> None:
    """An API takes users' turns or documents, not both (vLLM's token ids are either)."""
    asked = [("answers.teacher", recipe.answers.teacher, True)]
    if isinstance(recipe, Distil):
        asked.append(("evaluate.teacher", recipe.evaluate.teacher, True))
    if isinstance(recipe.instructions, Instructions):
        is_chat = InstructionPrompt.load(recipe.instructions.prompt).is_chat
        asked.append(("instructions.prompt", recipe.instructions.teacher, is_chat))
    for where, name, is_chat in asked:
        spec = recipe.teachers[name]
        if isinstance(spec, HTTPTeacher) and spec.api == ("completions" if is_chat else "chat"):
            wants = "a user's turn: `api: chat`" if is_chat else "a document to go on with: `api: completions`"
            raise UserError(
                f"{where}: what teachers.{name} is asked is {wants}, and its api is {spec.api!r} "
                "(instructions.prompt: tagged asks in users' turns, numbered in documents)"
            )


def _check_template(recipe: Distil, faculty: ClusterFaculty) -> None:
    folder = faculty.origin(recipe.student.init).folder()
    if not ChatTokenizer(str(folder)).closes_answers():
        raise UserError(
            f"student.init: the chat template of {folder} ends an answer with no special token, so a student could "
            "not learn to stop; start from a model whose template closes the assistant's turn"
        )


def _check_layers(recipe: Distil, faculty: ClusterFaculty) -> None:
    init = recipe.student.init
    if isinstance(init, PrunedStudent) and (header := faculty.model(init.teacher).header()):
        layers = header["num_hidden_layers"]
        if init.layers >= layers:
            raise UserError(f"student.init.layers: {init.layers} is not fewer than the teacher's {layers}")


def _check_windows(recipe: DataRecipe) -> None:
    for where, section in (("instructions", recipe.instructions), ("answers", recipe.answers)):
        if isinstance(section, Given):
            continue
        spec, wanted = recipe.teachers[section.teacher], section.sampling.max_tokens
        if isinstance(spec, VLLMTeacher) and wanted >= spec.engine.max_model_len:
            raise UserError(
                f"{where}.sampling.max_tokens ({wanted}) leaves no room for a prompt in "
                f"teachers.{section.teacher}.engine.max_model_len ({spec.engine.max_model_len})"
            )


def _check_token_maps(recipe: Distil, faculty: ClusterFaculty) -> None:
    """A student that learns a teacher's distributions must have the teacher's tokens."""
    name = recipe.student.signals
    if name is None:
        return
    mine = ChatTokenizer(str(faculty.origin(recipe.student.init).folder())).vocabulary()
    theirs = faculty.tokenizer(name).vocabulary()
    different = [t for t, id in theirs.items() if mine.get(t, id) != id or t not in mine]
    if different:
        raise UserError(
            f"student.init and teachers.{name} have different tokens ({len(different):,} of {len(theirs):,}, for "
            f"example {different[0]!r}), so the teacher's distributions mean nothing to the student. Take a student "
            "of the same family, or drop 'kd' from student.train.losses"
        )


def _written_tokens(recipe: DataRecipe) -> str:
    answers = recipe.answers
    if not isinstance(recipe.instructions, Instructions):
        return f"tokens: up to {answers.samples * answers.sampling.max_tokens:,} written for each seed task"
    rows = recipe.instructions.target + recipe.seeds.held_out
    most = (recipe.instructions.target * answers.samples + recipe.seeds.held_out) * answers.sampling.max_tokens
    return f"tokens: up to {most:,} written for answers to about {rows:,} prompts (plus the training seeds)"


def _examples(recipe: Distil) -> str:
    epochs = recipe.student.train.epochs
    if not isinstance(recipe.instructions, Instructions):
        return f"training: {epochs} epoch(s) over the answers"
    rows = recipe.instructions.target * recipe.answers.samples
    return f"training: about {rows * epochs:,} examples (plus the training seeds)"


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
