"""What is kept away from training by lineage, and when enough is learnt."""

from pipelines.core.config import Validation
from pipelines.core.records import TrainExample
from pipelines.train.validation import Best, split


def example(n: int, lineage: str = "") -> TrainExample:
    return TrainExample(f"e{n}", f"a{n}", f"i{n}", "answer", (1, 2), (0.0, 1.0), lineage)


FAMILIES = [example(n, f"family {n // 4}") for n in range(40)]


def test_whole_lineages_are_kept_away_until_the_share_is_reached() -> None:
    learnt, apart = split(FAMILIES, Validation(share=0.15), 1)
    assert len(apart) == 8  # two families of four, as one would be less than six
    assert sorted(e.id for e in [*learnt, *apart]) == sorted(e.id for e in FAMILIES)
    assert not {e.lineage for e in learnt} & {e.lineage for e in apart}
    assert [e.id for e in learnt] == [e.id for e in FAMILIES if e in learnt]  # in their order


def test_the_seed_alone_draws_them() -> None:
    config = Validation(share=0.2)
    first, again, other = (split(FAMILIES, config, seed)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert {e.id for e in split(FAMILIES[::-1], config, 1)[1]} == {e.id for e in first}


def test_something_is_left_to_learn_from_and_nothing_is_apart_unasked() -> None:
    one_family = [example(n, "one") for n in range(5)]
    assert split(one_family, Validation(share=0.5), 1) == (one_family, [])
    assert split(FAMILIES, None, 1) == (FAMILIES, [])


def test_examples_without_a_lineage_go_by_their_instruction() -> None:
    rows = [TrainExample(f"e{n}", "", f"i{n // 2}", "answer", (1, 2), (0.0, 1.0)) for n in range(8)]
    apart = split(rows, Validation(share=0.2), 3)[1]
    assert len(apart) == 2
    assert apart[0].instruction_id == apart[1].instruction_id


def test_the_best_look_and_patience() -> None:
    best = Best()
    assert [best.look(loss, step) for step, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1)] == [True, True, False, False]
    assert (best.loss, best.step, best.worse) == (2.0, 2, 2)
    assert best.is_enough(2)
    assert not best.is_enough(3)
    assert not best.is_enough(None)
    assert not Best().look(float("nan"), 1)
