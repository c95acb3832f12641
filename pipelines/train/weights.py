"""Which tokens of a conversation carry loss, and where one that is too long ends.

Knows the roles of tokens. Does not know tokenizers, records or models. A weight of 0 means that a token is not learnt;
what a step's sum is divided by counts the others, and never contains a weight.
"""

from collections.abc import Iterable, Sequence

from pipelines.core.chat import Role
from pipelines.core.config import Learn

ANSWER: frozenset[Role] = frozenset({"assistant", "end"})
PROMPT: frozenset[Role] = frozenset({"system", "user", "input"})


def token_weights(roles: Sequence[Role], learn: Learn, ended: bool = True) -> list[float]:
    """The weight of predicting each token. Where the last answer did not end by itself, its end is not learnt.

    `sft`: answers and their ends. `im`: prompts too (arXiv 2405.14394, section 3: all but the template); separators
    and a BOS, of which the paper does not speak, count as the template. `im-released`: all but the first marker, since
    its code searches for marker ids and finds no other.
    """
    prompt = learn.prompt_weight if learn.prompt_weight is not None else float(learn.method != "sft")
    others = prompt if learn.method == "im-released" else 0.0
    marker = next((t for t, role in enumerate(roles) if role != "template"), len(roles))
    first = max(1, marker)  # nothing predicts the first token of all
    stop = len(roles) if ended else _after(role == "assistant" for role in roles)
    by_role = {**dict.fromkeys(PROMPT, prompt), **dict.fromkeys(ANSWER, 1.0)}
    return [by_role.get(role, others) if first <= t < stop else 0.0 for t, role in enumerate(roles)]


def kept(roles: Sequence[Role], weights: Sequence[float], most: int | None) -> tuple[int, bool]:
    """How many of the tokens make the example, at most `most`, and whether that cuts it.

    What follows the last learnt token is left off. A cut falls after the last answer whose end still fits. Where none
    does it falls within a turn, and no end is learnt: a student must not learn to stop where somebody was cut off.
    """
    stop = _after(weight > 0 for weight in weights)
    if most is None or stop <= most:
        return stop, False
    ends = _after(role == "end" and weight > 0 for role, weight in zip(roles[:most], weights, strict=False))
    return ends or _after(weight > 0 for weight in weights[:most]), True


def _after(marks: Iterable[bool]) -> int:
    """One past the last mark; 0 where there is none."""
    return max((t + 1 for t, mark in enumerate(marks) if mark), default=0)
