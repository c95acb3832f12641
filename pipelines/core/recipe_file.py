"""Reads a recipe's YAML, or another file of settings, applies `--set`, and says in words, with file and line, what is
wrong.

Knows YAML and pydantic's errors. Does not know what the fields mean.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.core.errors import UserError
from pipelines.core.recipe import AnyRecipe, Recipe, recipe_of

SHIPPED = Path(__file__).parents[1] / "recipes"
T = TypeVar("T")


def load(path: str | Path, overrides: Sequence[str] = ()) -> AnyRecipe:
    """Read a recipe: a file's path, or the name of a shipped one. UserError names key, file and line."""
    return read(find(path), "recipe", AnyRecipe, recipe_of, overrides)


def read(file: Path, what: str, root: Any, make: Callable[[Any], T], overrides: Sequence[str] = ()) -> T:
    """What `make` makes of a YAML file: one of `root`'s models. UserError names key, file and line."""
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        node = yaml.compose(text)
        _refuse_twice(file, node)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{file}: a {what} is a mapping of keys to values; this file holds {data!r}")
    for override in overrides:
        _apply(data, override)
    try:
        return make(data)
    except ValidationError as error:
        place = _place(file, node, overrides)
        lines = [_in_words(dict(item), what, root, place) for item in error.errors()]
        raise UserError("\n".join(lines)) from error


def find(path: str | Path) -> Path:
    """The recipe's file: the path itself, or the shipped recipe of that name (`folder/name` below a folder)."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = SHIPPED / f"{path}.yaml"
    if shipped.is_file():
        return shipped
    names = sorted(str(p.relative_to(SHIPPED).with_suffix("")) for p in SHIPPED.rglob("*.yaml"))
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


def _in_words(item: Mapping[str, Any], what: str, root: Any, place: Callable[[Sequence[str]], str]) -> str:
    """One pydantic error as `file:line: key: what is wrong and what to do`."""
    path = _path_and_type(item["loc"], root)[0]
    if item["type"].startswith("union_tag"):
        path = [*path, item["ctx"]["discriminator"].strip("'")]
    where = place(path)
    key = ".".join(path) or f"the {what}"
    if item["type"] == "extra_forbidden":
        (section,) = _models_in(_path_and_type(item["loc"][:-1], root)[1])
        known = sorted(section.model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"{where}: {key}: there is no such key; {hint}"
    if item["type"] in ("missing", "union_tag_not_found"):
        return f"{where}: {key}: this key is needed and is not there"
    if item["type"] == "union_tag_invalid":
        return f"{where}: {key}: there is no {item['ctx']['tag']!r}; there is {item['ctx']['expected_tags']}"
    message = str(item["msg"]).removeprefix("Value error, ")
    tell = isinstance(item["input"], str | int | float | bool) and path[-1:] not in (["api_key_env"], ["base_url"])
    shown = f" (it is {item['input']!r})" if tell else ""  # a key in the wrong place is not repeated
    return f"{where}: {key}: {message}{shown}"


def _path_and_type(location: Sequence[Any], root: Any) -> tuple[list[str], Any]:
    """Pydantic's location as the file has it, and what belongs there: a union's member, named by its tag in the
    location, has no place of its own in the file."""
    path: list[str] = []
    hint: Any = root
    for step in location:
        members = _models_in(hint)
        if step == "[key]":
            continue
        if len(members) > 1:
            (hint,) = (m for m in members if step in _tags(m))
            continue
        path.append(str(step))
        if members:
            field = members[0].model_fields.get(str(step))
            hint = field.annotation if field else None
        else:
            hint = get_args(hint)[1] if get_origin(hint) is dict else None
    return path, hint


def _models_in(hint: Any) -> list[type[BaseModel]]:
    """The model that a type hint asks for, or the members of its union."""
    if get_origin(hint) in (Annotated, Union, UnionType):
        return [model for argument in get_args(hint) for model in _models_in(argument)]
    return [hint] if isinstance(hint, type) and issubclass(hint, BaseModel) else []


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """The values of the field that tells a union's members apart."""
    told = next(model.model_fields[name] for name in ("method", "kind") if name in model.model_fields)
    return get_args(told.annotation)


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
