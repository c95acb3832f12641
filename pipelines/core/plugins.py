"""Functions of the user's own, named `module:function` in a recipe.

Knows how to find one and how to hash its module's source, so that an edit changes the keys it enters.
Only the recipe's author names code here; nothing that a model wrote is ever imported.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Plugin:
    """A function of the user's and the digest of the file that defines it."""

    name: str
    call: Callable[..., Any]
    digest: str


@cache
def load_function(name: str) -> Plugin:
    """Import `module:function`, looking in the working folder too. UserError where it is not there."""
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise UserError(f"{name!r}: write module:function, for example my_filters:no_recipes")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise UserError(f"{name!r}: the module {module_name!r} cannot be imported: {error}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"{name!r}: {module_name} has no function {function_name!r}")
    source = getattr(module, "__file__", None)
    if source is None or not source.endswith(".py"):
        raise UserError(f"{name!r}: {module_name} has no source file, so its version cannot be told")
    return Plugin(name, function, file_digest(Path(source)))


def by_name(names: Iterable[str], known: Mapping[str, F], key: str) -> list[F | Callable[..., Any]]:
    """The functions of these names: known ones, and the user's own. UserError names the recipe's `key`."""
    found: list[F | Callable[..., Any]] = []
    for name in names:
        if name in known:
            found.append(known[name])
        elif ":" in name:
            found.append(load_function(name).call)
        else:
            raise UserError(f"{key}: {name!r} is none of {sorted(known)}, nor a module:function")
    return found


def content_key(names: Iterable[str]) -> list[str]:
    """Names as they enter a stage's key: a function of the user's by its source."""
    return [f"{name}@{load_function(name).digest}" if ":" in name else name for name in names]
