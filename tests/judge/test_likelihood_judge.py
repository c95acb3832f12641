"""A judge by likelihood: what is measured of an answer, and what two figures come to. Nothing is measured here."""

from collections.abc import Sequence

import pytest

from pipelines.core.chat import ChatTokenizer
from pipelines.core.records import Talk, TrainExample
from pipelines.judge import likelihood, pairwise, self_check, win_rates


def talk(model: str, *said: str) -> Talk:
    turns = tuple(f"Question {n}?" for n in range(len(said)))
    return Talk(f"t-{model}", "q", "all", model, turns, (), said, (), ("stop",) * len(said))


def test_the_answers_tokens_are_measured_and_no_others(tokenizer: ChatTokenizer) -> None:
    seen: list[TrainExample] = []

    def measure(examples: Sequence[TrainExample]) -> list[tuple[float, int]]:
        seen.extend(examples)
        return [(float(n), sum(weight > 0 for weight in e.weights)) for n, e in enumerate(examples, 1)]

    talks = [talk("m", "Bread.", "And a river."), talk("long", "winter " * 400), talk("b", "No.")]
    made = likelihood.measured(talks, tokenizer, 300, measure)
    assert [(each.talk_id, each.nll) for each in made] == [("t-m", 1), ("t-long", 0), ("t-b", 2)]
    assert made[1].tokens == 0
    learnt = [t for t, weight in zip(seen[0].token_ids, seen[0].weights, strict=True) if weight]
    assert tokenizer.decode_whole(learnt) == "Bread.<|im_end|>And a river.<|im_end|>"
    assert made[0].tokens == len(learnt)


def verdicts(mine: tuple[float, int], other: tuple[float, int], margin: float = 0.1) -> list[str]:
    pairs, _ = pairwise.paired([talk("m", "a")], [talk("b", "b")], "stage")
    told = [
        likelihood.AnswerLikelihood(f"l-{name}", f"t-{name}", *figures) for name, figures in (("m", mine), ("b", other))
    ]
    return [win_rates.winner(verdict) for verdict in likelihood.verdicts(pairs, told, margin)]


@pytest.mark.parametrize(
    ("mine", "other", "winner"),
    [
        ((10, 10), (20, 10), "model"),
        ((20, 10), (10, 10), "baseline"),
        ((10, 10), (60, 60), "tie"),
        ((10, 10), (10.9, 10), "tie"),
        ((10, 10), (11.2, 10), "model"),
        ((0, 0), (10, 10), "unscored"),
        ((10, 10), (0, 0), "unscored"),
    ],
)
def test_the_likelier_one_per_token_wins_in_both_orders(
    mine: tuple[float, int], other: tuple[float, int], winner: str
) -> None:
    assert verdicts(mine, other) == [winner, winner]


def test_it_must_pass_the_same_check() -> None:
    """Who finds right answers likelier, as a model would that knows them, has no leaning to a place."""
    told = [
        likelihood.AnswerLikelihood(side.id, side.id, 1.0 if side.model == self_check.RIGHT else 2.0, 1)
        for side in self_check.sides()
    ]
    found = self_check.of_verdicts(likelihood.verdicts(self_check.pairs(), told, 0.1), "likelihood", 1)
    assert (found.agreement, found.unparsable, found.repeated) == (1, 0, None)
    assert found.first_place + found.second_place == 0
