"""What an endpoint must show before any score of it is told: answers that are known beforehand.

Knows plain texts that ship (`core/benchmark_check.jsonl`) and what is wrong with a reply. Pure functions over replies;
`check.py` asks for them. An endpoint that fails one of these gives scores that look like any other's.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pipelines.core.builtin import BENCHMARK_CHECK
from pipelines.core.hashing import file_digest
from pipelines.core.records import Likelihood

# Scripts of several bytes a letter, blanks at both ends and in rows, line ends, numbers, code.
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "  two blanks before, two behind  ",
    "Zoë's café: 3,50 € — naïve façade, Straße, Привет, 你好, こんにちは 🙂",
    "a\n\nb\tc\r\nd",
    "def f(x):\n    return {'n': x ** 2}",
    "1234567 12,345.67 0x1F",
)
APART = 0.05  # nats per token: half-precision numbers differ by less between batches, another token by far more
AGREE = 0.9  # of flags: at a near tie a batch of another shape may prefer the other token
# How common chat templates open or close a turn. In a reply they say that the model did not get what it was taught.
MARKERS = (
    "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<s>", "</s>", "### Instruction:",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What one check saw, in words; `fault` says what is wrong, "" where nothing is."""

    check: str
    saw: str
    fault: str = ""


@dataclass(frozen=True)
class Plain:
    """A text of which it is plain how it goes on."""

    context: str
    right: str
    wrong: str


def content_key() -> str:
    """What of the texts enters a stage's key."""
    return file_digest(BENCHMARK_CHECK)


@cache
def plain() -> tuple[Plain, ...]:
    """The texts that ship."""
    return tuple(Plain(**json.loads(line)) for line in BENCHMARK_CHECK.read_text(encoding="utf-8").splitlines())


def tokens(texts: Sequence[str], ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> Finding:
    """Server and tokenizer make the same ids of a text: those of a BOS and of special tokens too."""
    other = [n for n, (mine, its) in enumerate(zip(ours, theirs, strict=True)) if tuple(mine) != tuple(its)]
    saw = f"{len(texts) - len(other)} of {len(texts)} texts have the same ids"
    if not other:
        return Finding("tokens", saw)
    n = other[0]
    at = next((i for i, (a, b) in enumerate(zip(ours[n], theirs[n], strict=False)) if a != b), -1)
    place = f"the first other one is token {at}" if at >= 0 else "one begins as the other does"
    return Finding(
        "tokens", saw,
        f"of {texts[n]!r} the endpoint makes {len(theirs[n])} tokens, and the tokenizer here {len(ours[n])}; {place}: "
        "the server has another tokenizer, or another idea of a BOS",
    )  # fmt: skip


def probabilities(told: Sequence[Likelihood]) -> Finding:
    """A log-probability is a number that is not above 0."""
    each = [value for likelihood in told for value in likelihood.logprobs]
    bad = [value for value in each if not value <= 1e-4]  # NaN is not
    saw = f"{len(each):,} log-probabilities from {min(each):.2f} to {max(each):.2f}"
    return Finding("log-probabilities", saw, f"{bad[0]} is no log-probability" if bad else "")


def additive(begun: Likelihood, rest: Likelihood, whole: Likelihood) -> Finding:
    """log P(a, b) = log P(a) + log P(b | a), each asked for by itself: so contexts end where they should."""
    apart = abs(math.fsum(whole.logprobs) - math.fsum(begun.logprobs) - math.fsum(rest.logprobs))
    each = apart / len(whole.logprobs)
    saw = f"a text and its two parts differ by {each:.4f} nats per token"
    fault = f"they differ by {each:.3f} nats per token, where at most {APART} is rounding"
    return Finding("additive", saw, "" if each <= APART else f"{fault}: log-probabilities stand at the wrong tokens")


def preferred(right: Sequence[Likelihood], wrong: Sequence[Likelihood], least: float) -> Finding:
    """What plainly goes on with a text is likelier, per token, than what plainly does not."""
    better = [_mean(a) > _mean(b) for a, b in zip(right, wrong, strict=True)]
    share = sum(better) / len(better)
    saw = f"{sum(better)} of {len(better)} right continuations are likelier than wrong ones"
    return Finding(
        "known answers", saw,
        "" if share >= least else f"only {saw} (benchmarks.known_answers: at least {least:.0%}): this is no trained "
        "model, or it does not read what is sent",
    )  # fmt: skip


def greedy(written: Sequence[Likelihood], others: Sequence[Likelihood]) -> Finding:
    """What the model writes greedily is called greedy, and another token in its place is not."""
    yes, no = sum(each.is_greedy for each in written), sum(not each.is_greedy for each in others)
    saw = (
        f"{yes} of {len(written)} tokens that it writes are called its likeliest, and {len(others) - no} of "
        f"{len(others)} others"
    )
    is_right = yes >= AGREE * len(written) and no >= AGREE * len(others)
    return Finding("greedy", saw, "" if is_right else f"{saw}: what is likeliest is not told, or told of another token")


def bounded(written: Sequence[int], most: int) -> Finding:
    """No reply has more tokens than were asked for."""
    saw = f"{len(written)} replies of at most {most} tokens have up to {max(written)}"
    return Finding("max_tokens", saw, f"{saw}: max_tokens is not kept" if max(written) > most else "")


def stopped(whole: str, stop: str, said: str) -> Finding:
    """A reply ends before a stop string. `whole` is what was said without one, and has it in the middle."""
    saw = f"{whole!r} ends as {said!r} before {stop!r}"
    is_kept = stop not in said and len(said) < len(whole)
    return Finding("stop", saw, "" if is_kept else f"asked to stop before {stop!r}, it said {said!r}")


def rendered(ids: Sequence[int], bos: int | None, theirs: int) -> Finding:
    """A conversation is rendered once, with one BOS at most, and as the server would have it."""
    saw = f"a user's turn is {len(ids)} tokens here and {theirs} at the endpoint"
    if bos is not None and tuple(ids[:2]) == (bos, bos):
        return Finding("chat template", saw, "the conversation begins with two BOS tokens")
    fault = f"{saw}: its chat template is not the one that the model came with"
    return Finding("chat template", saw, fault if len(ids) != theirs else "")


def clean(said: str, special: Sequence[str]) -> Finding:
    """An answer to a conversation holds no marks of a template."""
    found = [mark for mark in dict.fromkeys((*special, *MARKERS)) if mark and mark in said]
    saw = f"a reply of {len(said)} characters with {len(found)} of a template's marks"
    return Finding(
        "reply", saw, f"a reply holds {found[0]!r}: the model was not asked as it was taught" if found else ""
    )


def _mean(told: Likelihood) -> float:
    return math.fsum(told.logprobs) / len(told.logprobs)
