"""What a teacher wrote leaves a run, and says where it comes from; and both commands as a user sees them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from pipelines.core import manifest
from pipelines.core.errors import UserError
from pipelines.core.parts import summary, write_rows
from pipelines.core.records import Answer, Dropped, Instruction
from pipelines.core.stage import Done, Outcome, Stage
from pipelines.core.storage import Folder
from pipelines.formats.folder import import_
from pipelines.runs import api
from pipelines.runs.export import export

SEED = Instruction("i1", "List two rivers.", "Asia", "seed", "train", (), "", "Ob, Lena")
NEW = Instruction("i2", "Name a king.", "", "bootstrap", "train", ("i1",), "c2", "")
HELD_OUT = Instruction("i3", "Sing.", "", "seed", "held_out", (), "", "La.")
ANSWERS = [
    Answer("a1", "i1", "c1", SEED.as_prompt(), "Ob and Lena.", "stop"),
    Answer("a2", "i2", "c3", NEW.as_prompt(), "Cnut", "length"),
]


@pytest.fixture
def run_folder(recipe: Path, runs: Folder) -> Folder:
    """A run of `recipe` that has got as far as its answers."""
    _, folder, stages = api.open_run(str(recipe), runs.uri)
    folder.write_bytes("recipe.yaml", recipe.read_bytes())
    named = {stage.name: stage for stage in stages}
    too_short = Dropped("d", "instructions", "too short", "Go.", "")
    seeds = finish(named["seeds"], runs, {}, [SEED, HELD_OUT], Instruction)
    made = finish(named["instructions"], runs, {"seeds": seeds}, [SEED, NEW], Instruction, [too_short])
    finish(named["answers"], runs, {"source": made}, ANSWERS, Answer)
    return folder


def finish(
    stage: Stage,
    runs: Folder,
    inputs: dict[str, Done],
    rows: Sequence[Any],
    kind: type,
    dropped: Sequence[Dropped] = (),
) -> Done:
    folder = runs.child(stage.folder_name)
    write_rows(folder, rows, kind, dropped)
    return manifest.write(stage, folder, inputs, Outcome(*summary(folder, kind)), 0.0)


@pytest.mark.parametrize("by", ["name", "path", "recipe"])
def test_answers_leave_with_their_instructions(
    by: str, run_folder: Folder, recipe: Path, runs: Folder, tmp_path: Path
) -> None:
    what = {"name": run_folder.name, "path": run_folder.uri, "recipe": str(recipe)}[by]
    written = export(what, "alpaca", str(tmp_path / "out.json"), "runs" if by == "path" else runs.uri)
    assert written.rows == 2
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert first == {
        "instruction": "List two rivers.", "input": "Asia", "output": "Ob and Lena.", "answer_id": "a1",
        "finish_reason": "stop", "instruction_id": "i1", "origin": "seed", "parents": [],
    }  # fmt: skip
    assert (second["output"], second["parents"], second["finish_reason"]) == ("Cnut", ["i1"], "length")


def test_a_setting_names_another_run(run_folder: Folder, recipe: Path, runs: Folder, tmp_path: Path) -> None:
    for what, sets, words in (
        (str(recipe), ["instructions.target=13"], "has no finished answers yet"),
        (run_folder.name, ["instructions.target=13"], "--set changes a recipe"),
        ("nothing", [], "neither a run"),
    ):
        with pytest.raises(UserError, match=words):
            export(what, "messages", str(tmp_path / "out"), runs.uri, sets)
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_is_known_and_no_more(run_folder: Folder, runs: Folder, tmp_path: Path) -> None:
    import datasets

    export(run_folder.name, "hf", str(tmp_path / "set"), runs.uri)
    card = (tmp_path / "set" / "README.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head == {"license": "unknown", "pretty_name": run_folder.name}
    for words in (
        "2 conversations", "a fake one", "| instructions | 2 | 1 too short |", "| answers | 2 | none |",
        "Recipe `small`", run_folder.name, "ROUGE-L at most 0.7", "length, keywords, start", "tutelage trace",
        "Written by tutelage ", "Unknown. Nobody has stated one",
    ):  # fmt: skip
        assert words in card, words
    rows = datasets.load_from_disk(str(tmp_path / "set"))
    assert rows["messages"][1] == [
        {"role": "user", "content": "Name a king."},
        {"role": "assistant", "content": "Cnut"},
    ]


def test_a_licence_is_the_users_to_give(run_folder: Folder, runs: Folder, tmp_path: Path) -> None:
    export(run_folder.name, "hf", str(tmp_path / "set"), runs.uri, license="cc-by-4.0")
    card = (tmp_path / "set" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc-by-4.0"
    assert "## Licence\n\ncc-by-4.0\n" in card
    with pytest.raises(UserError, match="goes into the card of --to hf"):
        export(run_folder.name, "alpaca", str(tmp_path / "out"), runs.uri, license="cc-by-4.0")


def test_an_imported_folder_has_a_card_too(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps([{"instruction": "Sing.", "output": "La."}, {"instruction": "Hum."}]))
    import_(str(tmp_path / "in.json"), "alpaca", str(tmp_path / "folder"))
    export(str(tmp_path / "folder"), "hf", str(tmp_path / "set"), "runs")
    card = (tmp_path / "set" / "README.md").read_text()
    for words in (
        "Imported from `in.json` (format alpaca",
        "does not say who wrote it",
        "| import | 1 | 1 other columns |",
    ):
        assert words in card, words


def test_both_commands(cli: Callable[..., CompletedProcess[str]], tmp_path: Path) -> None:
    talk = {"messages": [{"role": n, "content": "Hm."} for n in ("user", "assistant", "user", "assistant")]}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(talk)}\n\n{json.dumps(talk)}\nnot JSON\n")
    shown = cli("import", "in.jsonl", "--from", "messages", "--out", "talks")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == [
        "1 conversations from in.jsonl are in talks",
        "dropped, and kept in talks/dropped: 1 duplicate, 1 not JSON",
    ]
    shown = cli("export", "talks", "--to", "alpaca", "--out", "out.json")
    assert shown.returncode == 0, shown.stderr
    assert "left out, as alpaca has no place for them: 1 several turns" in shown.stdout
    for arguments, words in (
        (["import", "in.jsonl", "--from", "alpaca", "--out", "other"], "it looks like --from messages"),
        (["import", "in.jsonl", "--from", "messages", "--out", "talks"], "is already there"),
        (["export", "talks", "--to", "messages", "--out", "out.json"], "is already there"),
        (["export", "talks", "--to", "csv", "--out", "out.csv"], "'csv' is not one of"),
    ):
        shown = cli(*arguments)
        assert shown.returncode == 2, shown.stdout
        assert words in " ".join(shown.stderr.split()), shown.stderr
        assert "Traceback" not in shown.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.json", "talks"]
