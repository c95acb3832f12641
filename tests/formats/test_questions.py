"""Multiple-choice questions: each public shape, the parts of folders and files, and real dirt."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.builtin import QUESTIONS
from pipelines.core.errors import UserError
from pipelines.core.records import Question
from pipelines.formats.questions import files_of, folded, read

TINYLLM = Path(__file__).parents[2].parent / "shared/data/tinyllm"

SKY = {"question": "What is blue?", "choices": ["the sky", "snow"], "answer": "the sky"}
FOUR = [{"text": "a pan", "label": "A"}, {"text": "a cup", "label": "B"}, {"text": "a hat", "label": "C"}]
NESTED = {"id": "7-1", "question": {"stem": "You drink from", "choices": FOUR}, "answerKey": "B"}
SIDE_BY_SIDE = {"text": ["a pan", "a cup", "a hat"], "label": ["1", "2", "3"]}
PIQA = {"goal": "To dry a plate,", "sol1": "rub it with a towel.", "sol2": "rub it with soap."}
PUBMED = {"QUESTION": "Does it help?", "CONTEXTS": ["We asked.", "They said."], "final_decision": "maybe"}
BIOASQ = {"id": "b1", "type": "yesno", "body": "Is it so?", "snippets": [{"text": "It is."}], "exact_answer": "yes"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, *rows): a file of JSON lines in a folder; a text is a line as it is."""

    def make(name: str, *rows: Any) -> Path:
        file = tmp_path / "data" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return file

    return make


def only(file: Path) -> Question:
    [question], dropped = read(str(file))
    assert dropped == []
    return question


def sky(number: int) -> dict[str, Any]:
    return {**SKY, "question": f"What is blue ({number})?"}


@pytest.mark.parametrize(
    "row",
    [
        NESTED,
        {"id": "7-1", "question_stem": "You drink from", "choices": SIDE_BY_SIDE, "answerKey": "2"},
        {"id": "7-1", "question": "You drink from", "choices": SIDE_BY_SIDE, "answerKey": "2"},
        {"id": "7-1", "question": " You drink from", "choices": ["a pan", "a cup ", "a hat"], "answer": " a cup"},
    ],
    ids=["as its makers have it", "OpenBookQA on the hub", "ARC and RiddleSense on the hub", "TinyLLM's release"],
)
def test_shapes_of_one_question_give_the_same_record(write: Write, row: dict[str, Any]) -> None:
    question = only(write("q.jsonl", row))
    choices = ("a pan", "a cup", "a hat")
    id = Question.make_id("", "You drink from", choices)
    assert question == Question(id, "7-1", "You drink from", "", choices, 1, "train")


@pytest.mark.parametrize("label", [0, 1])
def test_piqa_with_its_label_in_the_row_or_in_a_file_beside(write: Write, label: int) -> None:
    in_row = only(write("hub.jsonl", {**PIQA, "label": label}))
    write("train-labels.lst", str(label))
    beside = only(write("train.jsonl", PIQA))
    assert (in_row.answer, in_row.key, beside.key) == (label, "hub.jsonl:1", "train.jsonl:1")
    assert (beside.id, beside.answer) == (in_row.id, label)
    assert beside.choices == ("rub it with a towel.", "rub it with soap.")


def test_labels_that_do_not_go_line_by_line_are_told(write: Write) -> None:
    write("train-labels.lst", "0", "1", "1")
    with pytest.raises(UserError, match=r"3 labels and train.jsonl 1 rows"):
        read(str(write("train.jsonl", PIQA)))


def test_pubmed_of_its_makers_and_of_the_hub(write: Write) -> None:
    original = only(write("ori_pqal.json", json.dumps({"123": PUBMED}, indent=1)))
    hub = {"pubid": 123, "question": "Does it help?", "context": {"contexts": PUBMED["CONTEXTS"]}}
    assert only(write("hub.jsonl", {**hub, "final_decision": "maybe"})) == original
    assert (original.key, original.context) == ("123", "We asked.\nThey said.")
    assert (original.choices, original.answer) == (("yes", "no", "maybe"), 2)


def test_the_ids_of_pubmeds_list_are_the_test_part(write: Write) -> None:
    rows = {str(n): {**PUBMED, "QUESTION": f"Does it help {n}?"} for n in range(4)}
    file = write("ori_pqal.json", json.dumps(rows))
    write("test_ground_truth.json", json.dumps({"1": "maybe", "3": "maybe"}))
    for path in (file, file.parent):
        questions, dropped = read(str(path))
        assert [q.part for q in questions] == ["train", "test", "train", "test"]
        assert dropped == []
    write("test_ground_truth.json", "{")
    with pytest.raises(UserError, match=r"test_ground_truth.json is no JSON object"):
        read(str(file))


@pytest.mark.parametrize("answer", ["yes", ["yes"], "Yes"])
def test_bioasq_asks_yes_or_no_and_the_rest_is_counted(write: Write, answer: Any) -> None:
    others = [{**BIOASQ, "type": kind} for kind in ("factoid", "list", "summary")]
    document = {"questions": [{**BIOASQ, "exact_answer": answer}, *others]}
    [question], dropped = read(str(write("training11b.json", json.dumps(document, indent=1))))
    assert (question.key, question.context, question.choices, question.answer) == ("b1", "It is.", ("yes", "no"), 0)
    assert Counter(row.reason for row in dropped) == {"no yes-or-no question": 3}


@pytest.mark.parametrize(
    ("choices", "answer", "index"),
    [
        (["red", "blue", "green"], "blue", 1),
        (["red", "blue", "green"], "C", 2),
        (["red", "blue", "green"], "(a)", 0),
        (["red", "blue", "green"], 2, 2),
        (["red", "blue", "green"], 0, 0),
        (["C", "B", "A"], "A", 2),
        (["1", "2", "0"], "0", 2),
        (["1", "2", "0"], 0, 0),
    ],
)
def test_an_answer_is_a_text_or_a_letter_or_counted_from_0(
    write: Write, choices: list[str], answer: Any, index: int
) -> None:
    assert only(write("q.jsonl", {"question": "Which?", "choices": choices, "answer": answer})).answer == index


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"question": "cut o', "not JSON"),
        ("42", "not an object"),
        ("{}", "no question"),
        ({"prompt": "What?", "choices": ["a", "b"]}, "no question"),
        ({**SKY, "question": " "}, "no question"),
        ({**SKY, "question": ["What?"]}, "no question"),
        ({**NESTED, "question": {"choices": FOUR}}, "no question"),
        ({**SKY, "choices": ["the sky"]}, "fewer than two choices"),
        ({**SKY, "choices": "the sky"}, "fewer than two choices"),
        ({**NESTED, "question": {"stem": "What?", "choices": ["a", "b"]}}, "fewer than two choices"),
        ({"question_stem": "What?", "choices": ["a", "b"], "answerKey": "A"}, "fewer than two choices"),
        ({**SKY, "choices": ["the sky", " "]}, "an empty choice"),
        ({**SKY, "choices": ["the sky", 3]}, "an empty choice"),
        ({"goal": "To fly,", "sol1": "jump", "label": 0}, "an empty choice"),
        ({**SKY, "choices": ["the sky", "snow", "the sky "]}, "the same choice twice"),
        ({**SKY, "answer": None}, "no answer"),
        ({"question": "What?", "choices": ["a", "b"]}, "no answer"),
        ({**NESTED, "answerKey": ""}, "no answer"),
        ({**PIQA, "label": -1}, "no answer"),
        ({"questions": [{**BIOASQ, "exact_answer": []}]}, "no answer"),
        ({**SKY, "answer": "the sea"}, "answer is none of the choices"),
        ({**SKY, "answer": "C"}, "answer is none of the choices"),
        ({**SKY, "answer": 2}, "answer is none of the choices"),
        ({**SKY, "answer": True}, "answer is none of the choices"),
        ({**SKY, "answer": ["snow"]}, "answer is none of the choices"),
        ({**NESTED, "answerKey": "a cup"}, "answer is none of the choices"),
        ({"questions": [{**BIOASQ, "exact_answer": "perhaps"}]}, "answer is none of the choices"),
        ({**NESTED, "question": {"stem": "What?", "choices": [FOUR[0], {"text": "b", "label": "A"}]}}, "bad labels"),
        ({"question": "What?", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}, "bad labels"),
        ({"question": "What?", "choices": {"text": ["a", "b"]}, "answerKey": "A"}, "bad labels"),
        ({**PUBMED, "CONTEXTS": "We asked."}, "not text"),
        ({"questions": [{**BIOASQ, "snippets": [{"document": "d"}]}]}, "not text"),
        ('{"question": "Half \\ud83d?", "choices": ["a", "b"], "answer": "a"}', "bad text"),
        ('{"\\ud83d": {"QUESTION": 3}, "2": null}', "no question"),
    ],
    ids=str,
)
def test_a_bad_row_is_kept_with_its_place_and_the_others_go_on(write: Write, bad: Any, reason: str) -> None:
    questions, dropped = read(str(write("q.jsonl", SKY, bad, sky(2))))
    assert [q.key for q in questions] == ["q.jsonl:1", "q.jsonl:3"]
    assert (dropped[0].reason, dropped[0].stage) == (reason, "questions")
    assert dropped[0].detail.startswith("q.jsonl, ")
    assert dropped[0].text
    assert "".join((dropped[0].text, dropped[0].detail)).encode()


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train.jsonl", "dev.jsonl", "test.jsonl"),
        ("ARC-Challenge-Train.jsonl", "ARC-Challenge-Dev.jsonl", "ARC-Challenge-Test.jsonl"),
        ("train.jsonl", "valid.jsonl", "tests.jsonl"),
        ("rs_train.jsonl", "rs_dev.jsonl", "rs_test_hidden.jsonl"),
        ("obqa_train.json", "obqa_valid.json", "obqa_test.json"),
        ("train-00000.jsonl", "validation-00000.jsonl", "test-00000.jsonl"),
        ("training11b.json", "my_val.json", "11B1_golden.json"),
        ("questions.jsonl", "dev.jsonl", "test.jsonl"),
    ],
)
def test_parts_are_told_from_file_names_and_validation_is_nobodys(
    write: Write, train: str, valid: str, test: str
) -> None:
    folder = write(train, sky(1)).parent
    write(valid, sky(2))
    write(test, sky(3))
    (folder / "llm").mkdir()
    (folder / "llm" / "train_CoT_0.json").write_text(json.dumps(["(a) the sky"]))
    questions, dropped = read(str(folder))
    assert [(q.stem, q.part) for q in questions] == [("What is blue (1)?", "train"), ("What is blue (3)?", "test")]
    assert dropped == []


def test_validation_is_tested_on_where_the_tests_answers_are_secret(write: Write) -> None:
    folder = write("rs_train.jsonl", NESTED).parent
    write("rs_dev.jsonl", sky(2))
    write("rs_test_hidden.jsonl", {**NESTED, "answerKey": ""})
    questions, [dropped] = read(str(folder))
    assert [(q.key, q.part) for q in questions] == [("7-1", "train"), ("rs_dev.jsonl:1", "test")]
    assert dropped.reason == "no answer"


def test_a_fifth_of_the_stems_is_tested_on_where_nothing_says_which(write: Write) -> None:
    rows = [sky(number) for number in range(50)]
    again = {"question": "what is  BLUE (7)?", "choices": ["ink", "milk"], "answer": "ink"}
    file = write("train.jsonl", *rows, again)
    questions, _ = read(str(file))
    parts: dict[str, set[str]] = {"train": set(), "test": set()}
    for question in questions:
        parts[question.part].add(folded(question.stem))
    assert (len(parts["train"]), len(parts["test"])) == (40, 10)
    assert parts["train"].isdisjoint(parts["test"])
    assert read(str(file.parent))[0] == questions
    others, _ = read(str(write("elsewhere.jsonl", again, *reversed(rows))))
    assert {(q.id, q.part) for q in others} == {(q.id, q.part) for q in questions}


def test_a_rows_own_part_counts(write: Write) -> None:
    file = write("q.jsonl", {**sky(1), "part": "test"}, {**sky(2), "part": "train"}, {**sky(3), "part": 7}, sky(4))
    assert [q.part for q in read(str(file))[0]] == ["test", "train", "train", "train"]


def test_where_nothing_can_be_read_is_told(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.path: there is no file or folder .*'builtin'"):
        read(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    for nothing in (read, files_of):
        with pytest.raises(UserError, match=r"data.path: .*holds no question .*no rows in files named .json"):
            nothing(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"data.path: .*\(no question: 2, not JSON: 1\)"):
        read(str(write("q.jsonl", {}, "{", {"text": "other"})))


def test_the_files_that_a_key_is_made_of(write: Write) -> None:
    folder = write("train.jsonl", PIQA).parent
    write("train-labels.lst", "0")
    write("valid.jsonl", PIQA)
    write("notes.txt", "none")
    write("test_ground_truth.json", "{}")
    names = ["train.jsonl", "valid.jsonl", "test_ground_truth.json", "train-labels.lst"]
    assert [file.name for file in files_of(str(folder))] == names


def test_the_questions_that_ship() -> None:
    questions, dropped = read("builtin")
    assert dropped == []
    assert files_of("builtin") == [QUESTIONS]
    assert len({folded(q.stem) for q in questions}) == len({q.key for q in questions}) == 120
    for part, many in (("train", 80), ("test", 40)):
        there = [q for q in questions if q.part == part]
        assert {len(q.choices) for q in there} == {4}
        assert Counter(q.answer for q in there) == dict.fromkeys(range(4), many // 4)


@pytest.mark.parametrize(
    ("name", "counts", "reasons"),
    [
        ("obqa", {"train": 4954, "test": 500}, {"the same choice twice": 3}),
        ("arc", {"train": 1117, "test": 1165}, {}),
    ],
)
def test_tinyllms_release_is_read_whole(name: str, counts: dict[str, int], reasons: dict[str, int]) -> None:
    if not (TINYLLM / name).is_dir():
        pytest.skip(f"shared/data/tinyllm/{name} is not beside this checkout")
    questions, dropped = read(str(TINYLLM / name))
    assert Counter(q.part for q in questions) == counts
    assert Counter(row.reason for row in dropped) == reasons
