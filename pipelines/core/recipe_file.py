"""Reads a recipe's YAML, applies `--set`, and says in words, with file and line, what is wrong.

Knows YAML and pydantic's errors. Does not know what the fields mean.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.core.config import Recipe
from pipelines.core.errors import UserError

SHIPPED = Path(__file__).parents[1] / "recipes"


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a file's path, or the name of a shipped one. UserError names key, file and line."""
    file = find(path)
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        node = yaml.compose(text)
        _refuse_twice(file, node)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: a recipe is a mapping of keys to values; this file holds {data!r}")
    for override in overrides:
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        place = _place(file, node, overrides)
        lines = [_in_words(dict(item), place, data) for item in error.errors()]
        raise UserError("\n".join(lines)) from error


def find(path: str | Path) -> Path:
    """The recipe's file: the path itself, or the shipped recipe of that name."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = SHIPPED / f"{path}.yaml"
    if shipped.is_file():
        return shipped
    names = sorted(p.stem for p in SHIPPED.glob("*.yaml"))
    raise UserError(f"there is no recipe {str(path)!r}; give a YAML file, or one of the shipped: {', '.join(names)}")


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: write key=value, for example --set instructions.target=100")
    *parents, last = key.strip().split(".")
    place = data
    for name in parents:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {override!r}: {name!r} holds a value, so nothing can be set below it")
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r}: the value is not valid YAML: {error}") from error


def _refuse_twice(file: Path, node: yaml.Node | None) -> None:
    """YAML takes the last of two equal keys without a word."""
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in first:
            earlier = first[key.value]
            raise UserError(f"{file}:{line}: {key.value}: this key is there twice; the first is in line {earlier}")
        first[key.value] = line
        _refuse_twice(file, value)


def _place(file: Path, node: yaml.Node | None, overrides: Sequence[str]) -> Callable[[Sequence[str]], str]:
    """Where a key's value was given: the `--set` that gave it, or the file's line."""
    given = [(override.partition("=")[0].strip().split("."), override) for override in overrides]

    def where(path: Sequence[str]) -> str:
        for key, override in reversed(given):
            if key == list(path[: len(key)]):
                return f"--set {override}"
        line = _line_of(node, path)
        return f"{file}:{line}" if line else str(file)

    return where


def _in_words(item: Mapping[str, Any], place: Callable[[Sequence[str]], str], data: Any) -> str:
    """One pydantic error as `file:line: key: what is wrong and what to do`."""
    path = _without_kinds(item["loc"], data)
    where = place(path)
    key = ".".join(path) or "the recipe"
    if item["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        near = difflib.get_close_matches(path[-1], [k for k in known if k != path[-1]], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(sorted(known))}"
        return f"{where}: {key}: there is no such key; {hint}"
    if item["type"] == "missing":
        return f"{where}: {key}: this key is needed and is not there"
    message = str(item["msg"]).removeprefix("Value error, ")
    shown = f" (it is {item['input']!r})" if isinstance(item["input"], str | int | float | bool) else ""
    return f"{where}: {key}: {message}{shown}"


def _without_kinds(location: Sequence[Any], data: Any) -> list[str]:
    """Pydantic's path as the file has it: a union's member appears in the first by its kind, not in the second."""
    path: list[str] = []
    of_union = False
    for step in location:
        if of_union and isinstance(data, dict) and data.get("kind") == step:
            of_union = False
            continue
        if step == "[key]":
            continue
        path.append(str(step))
        data = data.get(step) if isinstance(data, dict) else None
        of_union = path[:-1] == ["teachers"] or path == ["student", "init"]
    return path


def _line_of(node: yaml.Node | None, path: Sequence[str]) -> int | None:
    """The line (from 1) of the deepest part of `path` that the file holds; None for an empty path."""
    line = None
    for name in path:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == name:
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line


def _fields_at(path: Sequence[str]) -> list[str]:
    """Field names of the recipe's model at a dotted path; those of every alternative of a union."""
    models: list[type[BaseModel]] = [Recipe]
    for name in path:
        below = [m.model_fields[name].annotation for m in models if name in m.model_fields]
        models = [m for hint in below for m in _models_in(hint)] or models
    return sorted({field for model in models for field in model.model_fields})


def _models_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [m for argument in getattr(hint, "__args__", ()) for m in _models_in(argument)]
