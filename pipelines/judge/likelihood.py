"""A judge that is asked nothing: of two answers it prefers the one that it finds likelier per token.

Knows how a Talk becomes an example and two likelihoods verdicts. Who measures comes as a function; `held_out_loss` does
it as it does for any other example. A likelihood knows no order, so both orders have the same verdict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn
from pipelines.core.hashing import key_of
from pipelines.core.records import AnswerLikelihood, Conversation, Pair, Talk, TrainExample, Verdict
from pipelines.judge.pairwise import ORDERS, verdict
from pipelines.judge.win_rates import said_by
from pipelines.train.examples import of_conversation

Measure = Callable[[Sequence[TrainExample]], Sequence[tuple[float, int]]]  # (nats, tokens) of each example


def measured(talks: Iterable[Talk], tokenizer: ChatTokenizer, longest: int, measure: Measure) -> list[AnswerLikelihood]:
    """How likely each talk's answers are. One of more than `longest` tokens has none."""
    rows = list(talks)
    made = [of_conversation(_conversation(talk), tokenizer, Learn(), longest) for talk in rows]
    examples = [example for example in made if isinstance(example, TrainExample)]
    found = iter(measure(examples) if examples else ())
    told = [next(found) if isinstance(example, TrainExample) else (0.0, 0) for example in made]
    return [
        AnswerLikelihood(key_of("likelihood", talk.id), talk.id, nll, tokens)
        for talk, (nll, tokens) in zip(rows, told, strict=True)
    ]


def verdicts(pairs: Iterable[Pair], likelihoods: Iterable[AnswerLikelihood], margin: float) -> list[Verdict]:
    """Both orders of every pair. A pair is unscored where an answer has no likelihood."""
    by_talk = {each.talk_id: each for each in likelihoods}
    return [
        verdict(pair, first, said_by(_preferred(pair, by_talk, margin), first), 0, "", "")
        for pair in pairs
        for first in ORDERS
    ]


def _preferred(pair: Pair, by_talk: Mapping[str, AnswerLikelihood], margin: float) -> str:
    mine, other = (by_talk[id] for id in pair.talk_ids)
    if not mine.tokens or not other.tokens:
        return "unscored"
    apart = other.nll / other.tokens - mine.nll / mine.tokens  # above 0: the model's answer is the likelier one
    return "tie" if abs(apart) <= margin else "model" if apart > 0 else "baseline"


def _conversation(talk: Talk) -> Conversation:
    turns = tuple(text for pair in zip(talk.turns, talk.said, strict=True) for text in pair)
    return Conversation(talk.id, "", turns, "", "{}")
