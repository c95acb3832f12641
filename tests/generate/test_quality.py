"""Filters of answers: what each drops, and what looks alike and stays."""

from pathlib import Path

import pytest

from pipelines.core.config import Answers
from pipelines.core.errors import UserError
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.generate.answers import AnswerWork
from pipelines.generate.quality import KNOWN, chain
from pipelines.generate.teacher import TeacherId

ASKED = "Write a short letter to the mayor about the old bridge."


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("refusal", "I'm sorry, but I can't help with that.", "refusal"),
        ("refusal", "As an AI language model, I have no bridge.", "refusal"),
        ("refusal", "The mayor was sorry.", None),
        ("echo", "Write a short letter to the mayor about the bridge.", "echoes the prompt"),
        ("echo", "Dear mayor, the old bridge is closed.", None),
        ("placeholder", "Dear [Mayor], yours, [Your Name]", "unfilled placeholder"),
        ("placeholder", "a[0] is the first item, see [1].", None),
        ("lines", "a\nb\na\nb", "repeats lines"),
        ("lines", "a\n\nb\n\nc\na", None),  # one of four
        ("symbols", "-----====----- ok", "mostly symbols"),
        ("symbols", "x = (a + b) * c2", None),
        ("capitals", "THE OLD BRIDGE IS CLOSED TODAY", "mostly capitals"),
        ("capitals", "NATO and UNESCO agreed on it", None),
        ("capitals", "NASA", None),
    ],
)
def test_each_filter_drops_its_own(name: str, answer: str, reason: str | None) -> None:
    assert KNOWN[name](ASKED, answer) == reason


def test_what_the_prompt_asked_for_stays() -> None:
    assert KNOWN["placeholder"]("Fill in: Dear [Your Name],", "Dear [Your Name], hello") is None
    assert KNOWN["capitals"]("REPEAT IN CAPITALS: THE BRIDGE", "THE OLD BRIDGE IS CLOSED") is None


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_is_no_fault(name: str) -> None:
    assert KNOWN[name](ASKED, "The bridge over the river was built in 1890 and needs care.") is None


def test_a_faulty_answer_is_kept_as_dropped_and_own_filters_see_prompt_and_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "def brief(prompt, answer):\n    return 'brief' if len(answer) < len(prompt) else None\n"
    (tmp_path / "own_answer_filters.py").write_text(code)
    config = Answers(teacher="main", filters=("refusal", "own_answer_filters:brief"))
    row = Instruction("i1", ASKED, "", "seed", "train", (), "", "")

    def settled(text: str) -> object:
        said = Completion("c1", "d", "", text, (1, 2), "stop", 3, 2)
        return AnswerWork("answers", config, TeacherId("main", "d")).settle(row, [said])[0]

    assert settled("Sorry, no.") == Dropped("i1", "answers", "refusal", ASKED, "Sorry, no.")
    assert settled("Dear mayor.") == Dropped("i1", "answers", "brief", ASKED, "Dear mayor.")
    assert not isinstance(settled("Dear mayor, the old bridge that we all loved is closed."), Dropped)


@pytest.mark.parametrize("name", ["refusel", "no_such_module:f"])
def test_an_unknown_filter_is_told(name: str) -> None:
    with pytest.raises(UserError, match=name):
        chain((name,))
