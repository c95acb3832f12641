"""What a request's body asks for: which model, and how many tokens at most.

Knows JSON and the fields of OpenAI's requests that cost tokens. Does not know who asks, nor how much they may. Other
fields, and whether the fields are there that an application needs, are the application's to check.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.refusals import Refused

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BYTES_PER_TOKEN = 3  # of a body; an answer's usage sets it right
MOST_BY_DEFAULT = 16  # OpenAI's, where completions name no max_tokens


@dataclass(frozen=True)
class Asked:
    """A request that can be passed on."""

    body: bytes
    model: str  # "" where none is named, or none of those that are served
    prompt_tokens: int  # estimated
    written_tokens: int  # at most; 0 where the model's own window is the bound

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.written_tokens


def read(body: bytes, path: str, models: Sequence[str], most: int | None) -> Asked:
    """Refused, in words, where it is no JSON object, asks for another model, or for more tokens than `most`.

    Where `most` is given, a chat that names no bound gets that one.
    """
    fields = _object(body)
    model = _model(fields, models)
    texts = _count(fields, "n", 1) * _prompts(fields)
    named = [
        _count(fields, name, 0) for name in ("max_tokens", "max_completion_tokens") if fields.get(name) is not None
    ]
    written = texts * max(named, default=MOST_BY_DEFAULT if path == COMPLETIONS else 0)
    if path == CHAT and not named and most is not None:
        if texts <= most:
            body = json.dumps({**fields, "max_tokens": most // texts}).encode()
        written = max(most, texts)
    if most is not None and written > most:
        raise Refused(400, f"max_tokens: {written} tokens are asked for in all; at most {most} here", "max_tokens")
    return Asked(body, model, len(body) // BYTES_PER_TOKEN, written)


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8 at byte {error.start}", "bad_body") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, f"the body is not JSON ({where}): {error.msg}", "bad_body") from error
    except (ValueError, RecursionError) as error:
        raise Refused(
            400, "the body is not JSON that can be read: too deep, or a number too long", "bad_body"
        ) from error
    if not isinstance(fields, dict):
        raise Refused(400, "the body is not a JSON object", "bad_body")
    return fields


def _model(fields: Mapping[str, Any], models: Sequence[str]) -> str:
    named = fields.get("model")
    if models and isinstance(named, str) and named not in models:
        raise Refused(404, f"there is no such model here; there is {', '.join(models)}", "model_not_found")
    return named if isinstance(named, str) and models else ""


def _prompts(fields: Mapping[str, Any]) -> int:
    """Texts to go on with; token ids are one text."""
    prompt = fields.get("prompt")
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _count(fields: Mapping[str, Any], name: str, least: int) -> int:
    """A whole number; what else an application would take for one is not let through uncounted."""
    value = fields.get(name)
    if value is None:
        return least
    if type(value) is not int or value < least:
        raise Refused(400, f"{name}: not a whole number from {least}", "invalid_value")
    return value
