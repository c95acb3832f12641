"""A Conversation as a row of each format, or the reason why the format has no place for it.

Knows what each format calls its columns and speakers. Does not know files. What else a row had stands beside
the format's own columns; a name that the format itself uses gets `extra_` before it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.core.records import Conversation
from pipelines.formats.parse import MESSAGES, Misfit

_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def alpaca(conversation: Conversation) -> dict[str, Any]:
    """{instruction, input, output}. Misfit for more than one question and one answer."""
    if conversation.system:
        raise Misfit("a system text")
    if len(conversation.turns) > 2:
        raise Misfit("several turns")
    instruction, output = conversation.turns
    row = {"instruction": instruction, "input": conversation.input, "output": output}
    return _beside(row, json.loads(conversation.extra))


def sharegpt(conversation: Conversation) -> dict[str, Any]:
    """{conversations: [{from, value}]}."""
    turns = [{"from": _SHAREGPT[m["role"]], "value": m["content"]} for m in conversation.messages()]
    return _chat("conversations", turns, conversation)


def messages(conversation: Conversation) -> dict[str, Any]:
    """{messages: [{role, content}]}."""
    return _chat("messages", [{**message} for message in conversation.messages()], conversation)


RENDER: Mapping[str, Callable[[Conversation], dict[str, Any]]] = {
    "alpaca": alpaca,
    "sharegpt": sharegpt,
    "messages": messages,
}


def _chat(column: str, turns: list[dict[str, Any]], conversation: Conversation) -> dict[str, Any]:
    """The messages, with what their source held beside role and text (see parse.py)."""
    extra = json.loads(conversation.extra)
    for source in MESSAGES.values():
        if _fits(extra.get(source), turns):
            turns = [_beside(turn, rest) for turn, rest in zip(turns, extra.pop(source), strict=True)]
            break
    return _beside({column: turns}, extra)


def _fits(beside: Any, turns: list[dict[str, Any]]) -> bool:
    return isinstance(beside, list) and len(beside) == len(turns) and all(isinstance(rest, dict) for rest in beside)


def _beside(row: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{name if name not in row else f"extra_{name}": value for name, value in extra.items()}}
