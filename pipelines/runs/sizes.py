"""How big models are, in parameters and bytes, before any is loaded.

Knows a model's config.json, the shapes of an encoder-decoder's weights and, where a model is not here yet, the size
that its name tells.
"""

import re
from collections.abc import Mapping
from typing import Any

from cluster.models import Model, parameter_count
from pipelines.core.config import GivenStudent, LocalTeacher, Train, VLLMTeacher
from pipelines.core.recipe import Montessori, Recipe, StudentRecipe
from pipelines.runs import trainings
from pipelines.runs.encoder_decoder import has_encoder
from serving.faculty import ClusterFaculty

GIB = 2**30
_NAMED = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)

_TINY_LLAMA = 1.1e9  # what every model of that name has
_T5 = re.compile(r"(?<![a-z])t5-(small|base|large|xl|xxl)(?![a-z0-9])", re.IGNORECASE)
_T5_SIZES = {"small": 77e6, "base": 248e6, "large": 783e6, "xl": 2.85e9, "xxl": 11.1e9}  # FLAN's (arXiv 2210.11416)


def parameters(header: dict[str, Any]) -> int:
    """Weights of a Llama-like decoder from its config.json (embedding counted once where tied)."""
    width, inner = header["hidden_size"], header["intermediate_size"]
    heads, kv_heads = header["num_attention_heads"], header.get("num_key_value_heads", header["num_attention_heads"])
    head = header.get("head_dim") or width // heads
    layer = 2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * inner
    embedding = header["vocab_size"] * width * (1 if header.get("tie_word_embeddings") else 2)
    return int(header["num_hidden_layers"] * layer + embedding)


def layers(header: dict[str, Any]) -> str:
    """How many layers a model has, in words; of an encoder-decoder both numbers, in T5's or BART's names."""
    if not has_encoder(header):
        return f"{header['num_hidden_layers']} layers"
    encoder = header.get("encoder_layers") or header["num_layers"]
    return f"{encoder} + {header.get('decoder_layers') or header.get('num_decoder_layers') or encoder} layers"


def size(model: Model) -> int:
    """Parameters from the model's header or, where it is not here yet, from its name (`70B`, `8x7B`, `t5-large`); 0:
    unknown."""
    if header := model.header():
        return parameter_count(model.folder()) if has_encoder(header) else parameters(header)
    if model.base:
        return size(model.base)
    if family := _T5.search(model.ref):
        return int(_T5_SIZES[family[1].lower()])
    if "tinyllama" in model.ref.lower():
        return int(_TINY_LLAMA)
    named = _NAMED.search(model.ref)
    if not named:
        return 0
    experts, each, unit = named.groups()
    return int(int(experts or 1) * float(each) * {"b": 1e9, "m": 1e6}[unit.lower()])


def of_teachers(recipe: Recipe, faculty: ClusterFaculty) -> dict[str, int]:
    """Parameters by teacher; 0 for one whose model is not ours to run."""
    local = {name for name, spec in recipe.teachers.items() if isinstance(spec, LocalTeacher)}
    return {name: size(faculty.model(name)) if name in local else 0 for name in recipe.teachers}


def of_student(recipe: StudentRecipe, faculty: ClusterFaculty) -> int:
    init = recipe.student.init
    model = faculty.origin(init)
    if isinstance(init, GivenStudent):
        return size(model)
    header = model.header()
    return parameters({**header, **init.sizes(header)}) if header else 0


def memory(recipe: StudentRecipe, teachers: Mapping[str, int], student: int) -> list[str]:
    """Bytes, roughly: served weights in 16 bits; training at 16 bytes a parameter, 2 of those beside adapters."""
    facts = []
    for name, spec in recipe.teachers.items():
        if isinstance(spec, VLLMTeacher) and teachers[name]:
            parts = spec.engine.gpus
            each = f" on each of {parts} GPUs" if parts > 1 else ""
            facts.append(f"memory: {name}'s engine about {2 * teachers[name] / GIB / parts + 1.5:.1f} GiB{each}")
    if student:
        worker = max(_worker(student, train) for train in trainings.of_student(recipe).values()) / GIB
        facts.append(
            f"memory: student {student / 1e6:,.0f} M parameters, about {worker:.1f} GiB per training worker, before "
            "activations"
        )
    if isinstance(recipe, Montessori):
        facts += _of_rounds(recipe, teachers[recipe.teacher], student)
    return facts


def _of_rounds(recipe: Montessori, teacher: int, student: int) -> list[str]:
    """A probe holds weights, moments, a slope, a row's gradient and step, and a copy of the weights, all in 32 bits.

    Where adapters are trained all of it but the weights is little.
    """
    copies = 1 if recipe.rounds.warm_up.train.lora else 7
    tuned, probe = _worker(teacher, recipe.rounds.tune) / GIB, copies * 4 * student / GIB
    told = {
        f"memory: {recipe.teacher} is tuned in about {tuned:.1f} GiB per training worker, before activations": teacher,
        f"memory: each probe of the student up to about {probe:.1f} GiB{_over(recipe.rounds.probe.shards)}, before "
        "activations": student,
    }
    return [fact for fact, is_known in told.items() if is_known]


def _over(shards: int) -> str:
    return f" over {shards} processes, in each of which embeddings and head are whole" if shards > 1 else ""


def _worker(weights: int, train: Train) -> float:
    """Masters, moments and gradients of what is trained: all weights, or a few adapters beside them. In bytes."""
    return (2 if train.lora else 16) * weights / (train.workers if train.zero_stage else 1)
