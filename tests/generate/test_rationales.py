"""Rationales of one source: what a teacher is asked, what is read of files, and that none is ever empty."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core import parts
from pipelines.core.config import Asked, FromFile, Released, Sampling
from pipelines.core.errors import UserError
from pipelines.core.records import Completion, Dropped, Question, Rationale, RationaleTask
from pipelines.core.stage import Outcome, StageRun
from pipelines.core.storage import Folder
from pipelines.generate import rationales
from pipelines.generate.cue import after_cue
from pipelines.generate.prompts import Prompt
from pipelines.generate.rationales import RationaleWork
from pipelines.generate.released_rationales import content_key
from pipelines.generate.teacher import TeacherId

TASK = RationaleTask("q1", ("q2",), "Question:\nWhy?\nAnswer:\na\nRationale:\nLet's think step by step.")
SAID = Completion("c1", "d", "", " Let's think step by step.\nIt is warm.\n", (1, 2), "length", 3, 2)
FLAN, LLAMA = Released(kind="released", of="flan-t5"), Released(kind="released", of="llama-2")


def work(prompt: str = "rationale-chat") -> RationaleWork:
    config = Asked(kind="asked", teacher="main", sampling=Sampling(temperature=0, max_tokens=96, stop=("END",)))
    loaded = Prompt.load(prompt, "rationales.sources.big.prompt", ["task"])
    return RationaleWork("rationales_big", "big", config, TeacherId("main", "d"), loaded)


def test_a_task_is_asked_as_a_chat_turn_or_as_a_document_that_ends_before_the_next_question() -> None:
    (chat,), (document,) = work().requests(TASK), work("rationale").requests(TASK)
    assert chat.is_chat
    assert not document.is_chat
    assert chat.prompt.endswith(f"\n\n{TASK.text}")
    assert document.prompt.endswith(f"\n\n{TASK.text}")
    assert (chat.sampling.stop, document.sampling.stop) == (("END",), ("END", "\nQuestion:"))


def test_a_rationale_leads_back_to_its_question_and_completion() -> None:
    (made,) = work().settle(TASK, [SAID])
    assert isinstance(made, Rationale)
    assert (made.question_id, made.source, made.text) == ("q1", "big", "It is warm.")
    assert (made.completion_id, made.finish_reason) == ("c1", "length")
    assert work().settle(TASK, [None]) == []


@pytest.mark.parametrize("text", ["", " \n", "Let's think step by step.", " Let's think st"])
def test_silence_is_no_rationale(text: str) -> None:
    assert work().settle(TASK, [replace(SAID, text=text)]) == [
        Dropped("q1", "rationales_big", "empty", TASK.text, text)
    ]


def test_the_cue_goes_and_what_is_only_like_it_stays() -> None:
    assert after_cue("let’s think step by step: it rains.") == "it rains."
    assert after_cue("Let it be. Let's think step by step.") == "Let it be. Let's think step by step."


def question(n: int, stem: str, *choices: str, part: str = "train") -> Question:
    made = Question(Question.make_id("", stem, choices), f"7-{n}", stem, "", choices, 0, "train")
    return replace(made, part="test") if part == "test" else made


RAIN = question(1, "What is rain?", "water", "sand")
SNOW = question(2, "What is snow?", "ice", "fire")
SNOW_TOO = question(3, "What is snow?", "cold", "hot")
HAIL = question(4, "What is hail?", "ice", "milk")
TESTED = question(5, "What is fog?", "mist", "jam", part="test")


def released(asked: Question, flan: str, llama: str) -> str:
    options = "\n".join(f"({'ab'[n]}) {choice}" for n, choice in enumerate(asked.choices))
    return f"{flan}\n\nQ: {asked.stem}\nAnswer Choices:\n{options} llama rationale:{llama}"


@pytest.fixture
def given(runs: Folder, stage_run: Callable[..., StageRun]) -> Callable[..., tuple[Outcome, dict[str, str], list[str]]]:
    """given(config, folder) -> (outcome, text by the dataset's name of a question, details of unreadable rows)."""

    def make(config: Released | FromFile, beside: Path) -> tuple[Outcome, dict[str, str], list[str]]:
        rows = [RAIN, SNOW, SNOW_TOO, HAIL, TESTED]
        parts.write_rows(runs.child("questions"), rows, Question)
        run = stage_run("rationales_given", questions=runs.child("questions"))
        outcome = rationales.given(config, "given", beside, run)
        keys = {row.id: row.key for row in rows}
        texts = {keys[row.question_id]: row.text for row in parts.rows_of(run.folder, Rationale)}
        dropped = list(parts.dropped_of(run.folder))
        return outcome, texts, [row.detail for row in dropped if row.reason == "unreadable"]

    return make


def test_the_release_is_read_in_the_order_of_its_numbers_and_known_by_its_questions(
    tmp_path: Path, given: Callable[..., tuple[Outcome, dict[str, str], list[str]]]
) -> None:
    cue = " Let's think step by step."
    first = [
        released(SNOW, "It is frozen. Thus, the answer is (a) ice. Thus, the answer is (a) ice", f"{cue}\nSnow is"),
        released(RAIN, "It falls. So, the answer is a.", " nan"),
        {"not": "a string"},
    ]
    last = [
        released(SNOW, "Too late. Thus, the answer is (a) ice", cue),
        released(TESTED, "It is grey. Thus, the answer is (a) mist", cue),
        released(SNOW_TOO, "Thus, the answer is (a) cold", " Let's think"),
        "no question here",
    ]
    (tmp_path / "train_CoT_10.json").write_text(json.dumps(last))
    (tmp_path / "train_CoT_2.json").write_text(json.dumps(first, indent=4))
    (tmp_path / "test_CoT_0.json").write_text("[")
    outcome, texts, unreadable = given(FLAN, tmp_path)
    assert texts == {"7-1": "It falls. So, the answer is a.", "7-2": "It is frozen."}
    assert outcome.dropped == {"unreadable": 2, "no rationale": 2}
    assert unreadable == ["train_CoT_2.json, row 3", "train_CoT_10.json, line 1, row 4"]
    assert outcome.facts == {"repeated": 1, "ambiguous": 0, "elsewhere": 1}
    outcome, texts, _ = given(LLAMA, tmp_path)
    assert texts == {"7-2": "Snow is"}
    assert outcome.dropped == {"unreadable": 2, "no rationale": 3}


def test_a_release_without_the_rationales_of_one_teacher_gives_none_and_says_so(
    tmp_path: Path, given: Callable[..., tuple[Outcome, dict[str, str], list[str]]]
) -> None:
    rows = [released(asked, "Yes. Thus, the answer is (a)", "") for asked in (RAIN, SNOW)]
    rows.append(released(HAIL, "Yes.", "").partition(" llama rationale:")[0])
    (tmp_path / "train_CoT_0.json").write_text(json.dumps(rows))
    outcome, texts, _ = given(LLAMA, tmp_path)
    assert (outcome.rows, texts, outcome.dropped) == (0, {}, {"no rationale": 4})
    assert given(FLAN, tmp_path)[1] == {"7-1": "Yes.", "7-2": "Yes.", "7-4": "Yes."}


def test_lines_name_their_question_by_either_id_or_by_a_stem_that_is_one_questions(
    tmp_path: Path, given: Callable[..., tuple[Outcome, dict[str, str], list[str]]]
) -> None:
    lines = [
        {"id": "7-1", "rationale": "It is wet."},
        {"id": RAIN.id, "rationale": "The second."},
        {"id": HAIL.id, "rationale": " "},
        {"question": "What is  snow?", "rationale": "Which one?"},
        {"question": "What is fog?", "rationale": "It is tested."},
        {"question": "What is rain?"},
        {"rationale": "Of what?"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join([*map(json.dumps, lines), "{broken", json.dumps({"id": "7-2", "rationale": "Ice."})]))
    outcome, texts, unreadable = given(FromFile(kind="file", path=str(path)), tmp_path)
    assert texts == {"7-1": "It is wet.", "7-2": "Ice."}
    assert unreadable == ["own.jsonl, line 6", "own.jsonl, line 7", "own.jsonl, line 8"]
    assert outcome.dropped == {"unreadable": 3, "no rationale": 2}
    assert outcome.facts == {"repeated": 1, "ambiguous": 1, "elsewhere": 1}


def test_what_is_read_enters_the_key_and_where_it_lies_does_not(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "train_CoT_0.json").write_text("[]")
    key = content_key(LLAMA, "llama", one)
    assert key == content_key(LLAMA.model_copy(update={"path": str(other)}), "llama", one)
    assert key != content_key(FLAN, "llama", one)
    (one / "train_CoT_1.json").write_text("[]")
    assert key != content_key(LLAMA, "llama", one)


def test_nothing_to_read_is_an_error_that_names_the_key(
    tmp_path: Path, given: Callable[..., tuple[Outcome, dict[str, str], list[str]]]
) -> None:
    with pytest.raises(UserError, match=r"rationales\.sources\.llama\.path: there is nothing .* folder `llm`"):
        content_key(LLAMA, "llama", tmp_path / "llm")
    with pytest.raises(UserError, match=r"rationales\.sources\.own\.path: .*JSON lines"):
        content_key(FromFile(kind="file", path=str(tmp_path)), "own", tmp_path)
    (tmp_path / "train_CoT_0.json").write_text(json.dumps([released(TESTED, "It is grey.", "")]))
    with pytest.raises(
        UserError, match=r"rationales\.sources\.given\.path: nothing there is of any of the 4 questions"
    ):
        given(FLAN, tmp_path)
