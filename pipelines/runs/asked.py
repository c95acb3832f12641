"""Who a recipe asks, in which form, and in which windows prompt and answer have to fit. Asks nobody."""

from collections.abc import Iterator
from typing import Any

from pipelines.core.config import (
    Answers,
    AskedJudge,
    Engine,
    Evolved,
    Given,
    Instructions,
    OwnAnswers,
    Sampling,
    VLLMTeacher,
)
from pipelines.core.recipe import AnyRecipe, Compare, DataRecipe, Distil, TinyLLM
from pipelines.generate.prompts import InstructionPrompt, Prompt


def forms(recipe: AnyRecipe) -> Iterator[tuple[str, str, bool]]:
    """(key, teacher, whether it is asked in users' turns, not in documents to go on with)."""
    if isinstance(recipe, TinyLLM):
        for name, source in recipe.asked.items():
            key = f"rationales.sources.{name}.prompt"
            yield key, source.teacher, Prompt.load(source.prompt, key, ["task"]).is_chat
    if isinstance(recipe, Compare):
        if recipe.judge:
            yield from (("answers.models", model, True) for model in recipe.answers.models)
            yield "judge.teacher", recipe.judge.teacher, True
        if recipe.benchmarks:
            is_chat = recipe.benchmarks.chat_template
            yield from (("benchmarks", model, is_chat) for model in recipe.answers.models)
    if not isinstance(recipe, DataRecipe):
        return
    config, instances = recipe.instructions, recipe.instances
    if isinstance(config, Instructions):
        yield "instructions.prompt", config.teacher, InstructionPrompt.load(config.prompt).is_chat
    if isinstance(config, Evolved):
        for way in config.ways:
            yield "instructions.ways", config.teacher, Prompt.load(way, "instructions.ways", ["task"]).is_chat
    if instances is not None:
        for name in ("task_type_prompt", "input_first_prompt", "output_first_prompt"):
            key = f"instances.{name}"
            yield key, instances.teacher, Prompt.load(getattr(instances, name), key, ["task"]).is_chat
    if isinstance(recipe.answers, Answers):
        yield "answers.teacher", recipe.answers.teacher, True
    if isinstance(recipe, Distil):
        yield "evaluate.teacher", recipe.evaluate.teacher, True


def of_engines(recipe: AnyRecipe) -> Iterator[tuple[str, Sampling, str, Engine]]:
    """(key of a section, its sampling, key of who is asked, the engine that must hold prompt and answer)."""
    sections: dict[str, Any] = {}
    if isinstance(recipe, DataRecipe):
        sections = {"instructions": recipe.instructions, "instances": recipe.instances, "answers": recipe.answers}
    if isinstance(recipe, TinyLLM):
        sections = {f"rationales.sources.{name}": source for name, source in recipe.asked.items()}
    for where, section in sections.items():
        if section is None or isinstance(section, Given | OwnAnswers):
            continue
        spec = recipe.teachers[section.teacher]
        if isinstance(spec, VLLMTeacher):
            yield where, section.sampling, f"teachers.{section.teacher}", spec.engine
    if isinstance(recipe, Compare):
        yield from _compared(recipe)
    if isinstance(recipe, Distil) and (config := recipe.student.on_policy):
        yield "student.on_policy", config.sampling, "student", recipe.student.engine


def _compared(recipe: Compare) -> Iterator[tuple[str, Sampling, str, Engine]]:
    judge = recipe.judge
    sections = [("answers", recipe.answers.sampling, model) for model in recipe.answers.models if judge]
    sections += [("judge", judge.sampling, judge.teacher)] if isinstance(judge, AskedJudge) else []
    for where, sampling, teacher in sections:
        if isinstance(spec := recipe.teachers[teacher], VLLMTeacher):
            yield where, sampling, f"teachers.{teacher}", spec.engine
