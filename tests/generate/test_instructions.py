"""Bootstrap rounds: deterministic, replayed from what was said, and true to the split."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.core import parts
from pipelines.core.config import Instructions, Sampling
from pipelines.core.errors import BudgetReached, UserError
from pipelines.core.progress import Budget, Progress
from pipelines.core.records import Dropped, Instruction, Split, TaskType
from pipelines.core.stage import Done, Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate import instructions
from pipelines.generate.novelty import Pool

if TYPE_CHECKING:
    from tests.conftest import FakeFaculty

MakeFaculty = Callable[..., "FakeFaculty"]
CONFIG = Instructions(teacher="main", target=20, requests_per_round=3, sampling=Sampling(max_tokens=400))
TRAINED = (
    "List ten rivers of Asia.", "Explain how bread is baked.", "Write a poem about rain.", "Name two old kings.",
    "Compare a violin with a flute.", "Suggest a name for my cat.", "Translate this line into Latin.",
    "Sort these numbers, the largest first.",
)  # fmt: skip
READABLE = " Count the books on this shelf."
TASKS = ("Count the books on this shelf.", "Explain a clock to a child.", "Describe an island in the sea.")
HELD_OUT = ("Say what makes a good bridge.", "Plan a winter garden.")


def change(config: Instructions, **changes: Any) -> Instructions:
    return config.model_copy(update=changes)


@dataclass
class Bootstrap:
    """A runs folder with seeds, and what the stage made in it."""

    runs: Folder
    budget: Budget
    answered: dict[str, str] = field(default_factory=dict)  # seeds that have an answer of their own
    types: dict[str, TaskType] = field(default_factory=dict)

    def run(self, faculty: "FakeFaculty", config: Instructions = CONFIG, seed: int = 17, into: str = "made") -> Outcome:
        seeds = self.runs.child("seeds")
        splits: list[tuple[str, Split]] = [*((t, "train") for t in TRAINED), *((t, "held_out") for t in HELD_OUT)]
        rows = [
            Instruction(
                Instruction.make_id(t, ""), t, "", "seed", split, (), "", self.answered.get(t, ""),
                task_type=self.types.get(t, "unknown"),
            )
            for t, split in splits
        ]  # fmt: skip
        parts.write_rows(seeds, rows, Instruction)
        progress = Progress(self.budget, io.StringIO())
        stage = StageRun(self.runs.child(into), {"seeds": Done(seeds, {})}, self.runs, progress)
        return replace(instructions.run(config, faculty, seed, stage), start_up_seconds=0.0)

    def kept(self, into: str = "made") -> list[Instruction]:
        """The new instructions, after the training seeds."""
        rows = list(parts.rows_of(self.runs.child(into), Instruction))
        assert [i.text for i in rows[: len(TRAINED)]] == list(TRAINED)
        return rows[len(TRAINED) :]

    def dropped(self, into: str = "made") -> list[Dropped]:
        return list(parts.dropped_of(self.runs.child(into)))


@pytest.fixture
def bootstrap(runs: Folder) -> Bootstrap:
    return Bootstrap(runs, Budget())


@pytest.fixture
def elsewhere(runs: Folder) -> Bootstrap:
    """Another runs folder, in which nothing was ever said."""
    return Bootstrap(Folder(f"{runs.uri}-elsewhere"), Budget())


def test_the_target_is_reached_with_new_different_tasks(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    faculty = make_faculty()
    outcome = bootstrap.run(faculty)
    kept = bootstrap.kept()
    assert len(kept) == CONFIG.target
    assert outcome.rows == CONFIG.target + len(TRAINED)
    pool = Pool(CONFIG.max_rouge_l)
    for text in [*TRAINED, *HELD_OUT, *(i.text for i in kept)]:
        assert pool.nearest(text) is None
        pool.add(text)
    asked = {request.id: request for request in faculty.asked}
    texts = {i.id: i.text for i in [*parts.rows_of(bootstrap.runs.child("made"), Instruction)]}
    for new in kept:
        assert (new.origin, new.split, len(new.parents)) == ("bootstrap", "train", 8)
        assert all(texts[parent] in asked[new.completion_id].prompt for parent in new.parents)
    assert outcome.facts["requests"] == len(faculty.asked) == len(asked)
    assert any(set(new.parents) - {Instruction.make_id(t, "") for t in TRAINED} for new in kept)  # its own are shown


def test_a_held_out_task_is_never_shown(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    faculty = make_faculty()
    bootstrap.run(faculty)
    shown = "\n".join(request.prompt for request in faculty.asked)  # type: ignore[union-attr]
    assert [text for text in TRAINED if text not in shown] == []
    assert [text for text in HELD_OUT if text in shown] == []


def test_the_rounds_follow_the_seed_and_not_the_order_of_arrival(
    bootstrap: Bootstrap, elsewhere: Bootstrap, make_faculty: MakeFaculty
) -> None:
    one, other = bootstrap.run(make_faculty()), elsewhere.run(make_faculty(tarries=True))
    assert one == other
    assert bootstrap.kept() == elsewhere.kept()
    assert Counter(bootstrap.dropped()) == Counter(elsewhere.dropped())
    assert elsewhere.run(make_faculty(), seed=18, into="other-seed").digest != one.digest


@pytest.mark.parametrize("after", [0, 4])
def test_an_interrupted_bootstrap_asks_only_what_is_missing(
    bootstrap: Bootstrap, elsewhere: Bootstrap, make_faculty: MakeFaculty, after: int
) -> None:
    undisturbed, dying, second = make_faculty(), make_faculty(dies_after=after), make_faculty()
    expected = elsewhere.run(undisturbed)
    with pytest.raises(ConnectionError):
        bootstrap.run(dying)
    assert bootstrap.run(second) == expected
    assert bootstrap.kept() == elsewhere.kept()
    assert sorted(dying.asked_ids + second.asked_ids) == sorted(undisturbed.asked_ids)
    third = make_faculty()
    assert bootstrap.run(third, into="again") == expected
    assert third.asked == []


def test_a_budget_stops_between_rounds_and_the_next_run_goes_on(
    bootstrap: Bootstrap, make_faculty: MakeFaculty
) -> None:
    first, second = make_faculty(), make_faculty()
    bootstrap.budget = Budget(max_tokens=1)
    with pytest.raises(BudgetReached):
        bootstrap.run(first)
    assert len(first.asked) == CONFIG.requests_per_round
    bootstrap.budget = Budget()
    bootstrap.run(second)
    assert set(first.asked_ids).isdisjoint(second.asked_ids)
    assert len(bootstrap.kept()) == CONFIG.target


def test_a_larger_target_extends(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    first, second = make_faculty(), make_faculty()
    bootstrap.run(first)
    bootstrap.run(second, change(CONFIG, target=30), into="larger")
    assert bootstrap.kept("larger")[: CONFIG.target] == bootstrap.kept()
    assert len(bootstrap.kept("larger")) == 30
    assert set(first.asked_ids).isdisjoint(second.asked_ids)


def test_what_is_dropped_is_counted_by_reason(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    reply = (
        " Count the {} books on the {} shelf.\n10. Draw a cat on a mat.\n11. Go.\n"
        "12. Plan a winter garden.\n13. Count the {} books on the {} shelf.\n14. ¿Qué hora es en {}?"
    )
    words = [f"{letter}{n}" for letter in "abcdef" for n in range(9)]
    numbers = iter(range(99))
    faculty = make_faculty(says=lambda _: reply.replace("{}", words[next(numbers)]))
    outcome = bootstrap.run(faculty, change(CONFIG, target=1, filters=("length", "keywords", "start"), max_rouge_l=0.8))
    assert [i.text.split()[:3] for i in bootstrap.kept()] == [["Count", "the", bootstrap.kept()[0].text.split()[2]]]
    asked = CONFIG.requests_per_round
    assert outcome.dropped == {"beyond text": asked, "too short": asked, "odd start": asked, "not new": 2 * asked}
    assert outcome.dropped == Counter(row.reason for row in bootstrap.dropped())
    assert any("Plan a winter garden." in row.detail for row in bootstrap.dropped())  # new to the held-out ones, too


def test_a_refused_request_and_an_unreadable_reply_are_dropped(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    refused: list[str] = []

    def refuses(request: Any) -> bool:
        refused.append(request.id)
        return len(refused) == 1

    outcome = bootstrap.run(make_faculty(refuses=refuses, says=lambda r: "" if r.id == refused[1] else READABLE),
                            change(CONFIG, target=1))  # fmt: skip
    assert outcome.dropped["request failed"] == outcome.dropped["nothing to read"] == 1
    assert len(bootstrap.kept()) == 1


def test_a_reply_that_hit_the_limit_loses_its_last_item(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    faculty = make_faculty()
    outcome = bootstrap.run(faculty, change(CONFIG, sampling=Sampling(max_tokens=60)))
    assert outcome.dropped["cut off"] == len(faculty.asked)
    assert all(i.text.endswith(".") for i in bootstrap.kept())


def test_a_target_out_of_reach_says_why(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    with pytest.raises(UserError, match=r"1 of 20 new ones after 2 rounds; dropped: {'not new': 5}.*max_rounds"):
        bootstrap.run(make_faculty(says=lambda _: READABLE), change(CONFIG, max_rounds=2))


def test_the_same_task_is_never_kept_twice(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    with pytest.raises(UserError, match="1 of 20 new ones"):
        bootstrap.run(make_faculty(says=lambda _: READABLE), change(CONFIG, max_rounds=2, max_rouge_l=1.0))


def test_a_tagged_prompt_is_asked_as_a_chat_turn(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    numbers = iter(range(99))
    faculty = make_faculty(says=lambda _: f"Useful. <instruction>{TASKS[next(numbers)]}</instruction>")
    bootstrap.run(faculty, change(CONFIG, prompt="tagged", target=3))
    assert {i.text for i in bootstrap.kept()} == set(TASKS[:3])
    assert all(r.is_chat for r in faculty.asked)  # type: ignore[union-attr]


def test_samples_of_one_prompt_share_a_group(bootstrap: Bootstrap, make_faculty: MakeFaculty) -> None:
    numbers = iter(range(99))
    faculty = make_faculty(says=lambda _: f"{TASKS[next(numbers) % 3]} {next(numbers)} {next(numbers)} and more words")
    config = change(CONFIG, prompt="tagged-open", requests_per_round=2, samples=3, target=6, max_rouge_l=1.0)
    bootstrap.run(faculty, config)
    prompts = {request.id: request.prompt for request in faculty.asked}  # type: ignore[union-attr]
    assert (len(prompts), len(set(prompts.values()))) == (6, 2)
    by_group: dict[str, set[str]] = {}
    for new in bootstrap.kept():
        by_group.setdefault(new.group, set()).add(prompts[new.completion_id])
    assert sorted(prompt for shown in by_group.values() for prompt in shown) == sorted(set(prompts.values()))


def test_triples_come_with_their_answers_and_only_whole_tasks_are_shown(
    bootstrap: Bootstrap, make_faculty: MakeFaculty
) -> None:
    reply = " Count the books.\n2. Input:\nTwo atlases\n2. Output:\n2\n###\n3. Instruction: Go now."
    faculty = make_faculty(says=lambda _: reply)
    config = change(CONFIG, prompt="triples", seed_examples=3, own_examples=0, target=1, min_words=2)
    with pytest.raises(UserError, match=r"leave none of 8 seeds to show"):
        bootstrap.run(faculty, config)
    bootstrap.answered = {TRAINED[0]: "The Ob."}
    outcome = bootstrap.run(faculty, config)
    (new,) = bootstrap.kept()
    assert (new.text, new.input, new.reference) == ("Count the books.", "Two atlases", "2")
    assert new.id == Instruction.make_id(new.text, new.input)
    assert new.parents == (Instruction.make_id(TRAINED[0], ""),)
    assert outcome.dropped == {"incomplete": 3, "not new": 2}


def test_only_classification_seeds_are_shown_where_the_recipe_says_so(
    bootstrap: Bootstrap, make_faculty: MakeFaculty
) -> None:
    bootstrap.types = {TRAINED[1]: "classification", TRAINED[2]: "generation", TRAINED[4]: "classification"}
    faculty = make_faculty(says=lambda _: READABLE)
    bootstrap.run(faculty, change(CONFIG, prompt="classification", show="classification", own_examples=0, target=1))
    for request in faculty.asked:
        shown = [text for text in TRAINED if text in request.prompt]  # type: ignore[union-attr]
        assert shown == [TRAINED[1], TRAINED[4]]
