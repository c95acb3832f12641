"""A row of a known format becomes a Conversation, or the reason why it is none.

Knows which columns each format has and what the speakers are called. Does not know files. Texts stay as they
are, to the last space; columns that a format does not know are kept in `extra`, and what a message holds besides
its role and text is kept there too, under the name of the messages' column.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

from pipelines.core.hashing import canonical
from pipelines.core.records import Conversation

Row = Mapping[str, Any]
OWN = frozenset(field.name for field in fields(Conversation))
MESSAGES = {"messages": "messages", "sharegpt": "conversations"}  # chat format -> its column
_ANSWER = ("output", "response")
_ROLE, _TEXT = ("role", "from"), ("content", "value")
_SPEAKERS = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "bing", "bard"), "assistant"),
}


class Misfit(ValueError):
    """A row that does not fit a format: `reason` is counted, `detail` is for the eye."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def shape_of(columns: Collection[str]) -> str | None:
    """The format whose columns these are ("own" for what `export --to parquet` writes), None for an unknown one."""
    if set(columns) >= OWN:
        return "own"
    for shape, column in MESSAGES.items():
        if column in columns:
            return shape
    if "instruction" in columns:
        return "self-instruct" if "instances" in columns else "alpaca" if _first(_ANSWER, columns) else None
    return None


def plain(value: Any) -> Any:
    """A value as JSON can hold it: a number that is none becomes null, bytes become hex, a date its words."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def conversations(shape: str, row: Any) -> list[Conversation | Misfit]:
    """All that a row holds; one for each instance of a Self-Instruct task, and one otherwise."""
    try:
        pieces = _instances(row) if shape == "self-instruct" else [row]
    except Misfit as misfit:
        return [misfit]
    return [_conversation(shape, piece) for piece in pieces]


def _conversation(shape: str, row: Any) -> Conversation | Misfit:
    try:
        _check_object(row)
        if shape == "own":
            return _own(row)
        return _chat(row, MESSAGES[shape]) if shape in MESSAGES else _alpaca(row)
    except Misfit as misfit:
        return misfit


def _alpaca(row: Row) -> Conversation:
    answer = _first(_ANSWER, row)
    if "instruction" not in row or answer is None:
        raise Misfit("other columns", f"instruction and output are expected, not {_names(row)}")
    extra = {name: value for name, value in row.items() if name not in ("instruction", "input", answer)}
    return _made("", [_text(row["instruction"]), _text(row[answer])], _text(row.get("input")), extra)


def _instances(task: Any) -> list[Row]:
    """A Self-Instruct task as rows of Alpaca's columns, one for each instance."""
    _check_object(task)
    instances = task.get("instances")
    if not isinstance(instances, list) or not instances:
        raise Misfit("no instances", "a list of {input, output} is expected under instances")
    rest = {name: value for name, value in task.items() if name != "instances"}
    return [_task_row(rest, instance) for instance in instances]


def _task_row(task: Row, instance: Any) -> Row:
    if not isinstance(instance, Mapping):
        return {**task, "instances": instance}  # without an answer, so it is dropped as what it is
    known = {name: instance[name] for name in ("input", "output") if name in instance}
    rest = {name: value for name, value in instance.items() if name not in known}
    return {**task, **known, **({"instance": rest} if rest else {})}


def _chat(row: Row, column: str) -> Conversation:
    messages = row.get(column)
    if not isinstance(messages, list):
        raise Misfit("other columns", f"a list is expected under {column}, not {_names(row)}")
    spoken = [_message(message, number) for number, message in enumerate(messages, 1)]
    extra = {name: value for name, value in row.items() if name != column}
    beside = [rest for _, _, rest in spoken]
    system = ""
    if spoken and spoken[0][0] == "system":
        system = spoken.pop(0)[1]
        beside = beside if system else beside[1:]
    elif isinstance(extra.get("system"), str) and extra["system"]:
        system = extra.pop("system")
        beside = [{}, *beside]
    _check_order([role for role, _, _ in spoken])
    if any(beside):
        extra[column] = beside
    return _made(system, [text for _, text, _ in spoken], "", extra)


def _message(message: Any, number: int) -> tuple[str, str, dict[str, Any]]:
    """(role, text, what else it holds)."""
    role_at, text_at = (
        (_first(names, message) for names in (_ROLE, _TEXT)) if isinstance(message, Mapping) else ("", "")
    )
    if not role_at or not text_at:
        raise Misfit("bad message", f"message {number} is no object with a role and a content")
    said_by = message[role_at]
    role = _SPEAKERS.get(said_by.strip().lower()) if isinstance(said_by, str) else None
    if role is None:
        raise Misfit("other roles", f"message {number} is by {said_by!r}")
    return role, _text(message[text_at]), {k: v for k, v in message.items() if k not in (role_at, text_at)}


def _check_order(roles: list[str]) -> None:
    if not roles:
        raise Misfit("no turns", "the conversation is empty")
    if roles[0] != "user":
        raise Misfit("roles out of order", f"the {roles[0]} speaks first")
    for number, pair in enumerate(pairwise(roles), 1):
        if set(pair) != {"user", "assistant"}:
            raise Misfit("roles out of order", f"turn {number} is the {pair[0]}'s and the next one the {pair[1]}'s")


def _own(row: Row) -> Conversation:
    """What we wrote ourselves; columns that someone added since are kept."""
    turns = row["turns"]
    if not isinstance(turns, list):
        raise Misfit("no turns", "a list of texts is expected under turns")
    added = {name: value for name, value in row.items() if name not in OWN and name != "messages"}
    return _made(_text(row["system"]), [_text(t) for t in turns], _text(row["input"]), _object(row["extra"]) | added)


def _made(system: str, turns: list[str], input: str, extra: Mapping[str, Any]) -> Conversation:
    if not turns:
        raise Misfit("no turns", "the conversation is empty")
    for number, text in enumerate(turns):
        if not text.strip():
            raise Misfit("empty answer" if number % 2 else "empty question", f"turn {number + 1} says nothing")
    if len(turns) % 2:
        raise Misfit("no last answer", "the conversation ends with the user")
    rest = canonical(extra)
    try:
        rest.encode()
        return Conversation(Conversation.make_id(system, turns, input), system, tuple(turns), input, rest)
    except UnicodeEncodeError as error:
        raise Misfit("bad text", "half a character") from error


def _text(value: Any) -> str:
    """A text, or a list of text parts joined; what is not there is empty."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise Misfit("not text", f"{type(value).__name__} where a text is expected")
    return "".join(_part(part) for part in value)


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise Misfit("not text", f"a part of the kind {kind!r}")
    return text


def _object(text: Any) -> dict[str, Any]:
    try:
        value = plain(json.loads(text or "{}"))
    except (TypeError, ValueError) as error:
        raise Misfit("bad extra", f"no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Misfit("bad extra", "no JSON object")
    return value


def _check_object(row: Any) -> None:
    if not isinstance(row, Mapping):
        raise Misfit("not an object", f"an object with columns is expected, not a {type(row).__name__}")


def _first(names: Collection[str], there: Collection[str]) -> str | None:
    return next((name for name in names if name in there), None)


def _names(row: Row) -> str:
    return ", ".join(map(str, row)) or "nothing"
