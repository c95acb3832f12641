"""Sources of data and their split: no prompt in both halves, no row lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.config import Data
from pipelines.core.errors import UserError
from pipelines.train.given_data import content_key, split_sources


def file_of(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def alpaca(n: int, answer: str = "yes") -> dict[str, str]:
    return {"instruction": f"Is {n} a number?", "input": "", "output": answer}


def test_the_halves_share_no_prompt_and_are_all(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", [alpaca(n, answer) for n in range(20) for answer in ("yes", "it is")])
    data = Data.model_validate({"sources": {"main": {"path": path}}, "held_out": 5})
    halves = split_sources(data, seed=1)
    train, apart = halves["train"]["main"][0], halves["held_out"]["main"][0]
    assert (len(train), len(apart)) == (30, 10)  # both answers of a prompt stay together
    assert not {row.turns[0] for row in train} & {row.turns[0] for row in apart}
    again = split_sources(data, seed=1)
    assert [row.id for row in again["held_out"]["main"][0]] == [row.id for row in apart]
    other = split_sources(data, seed=2)
    assert {row.id for row in other["held_out"]["main"][0]} != {row.id for row in apart}


def test_a_prompt_in_two_sources_stays_where_it_stood_first(tmp_path: Path) -> None:
    first = file_of(tmp_path / "a.jsonl", [alpaca(n) for n in range(10)])
    second = file_of(tmp_path / "b.jsonl", [alpaca(n, "no") for n in range(8, 20)])
    data = Data.model_validate({"sources": {"a": {"path": first}, "b": {"path": second}}, "held_out": 2})
    rows, dropped = split_sources(data, seed=1)["train"]["b"]
    assert len(rows) == 10 - 2
    assert [(d.reason, d.detail) for d in dropped] == [("in two sources", "its prompt is in a too")] * 2


def test_bad_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", [*[alpaca(n) for n in range(6)], "{broken", {"instruction": "No answer"}])
    data = Data.model_validate({"sources": {"main": {"path": path}}, "held_out": 2})
    rows, dropped = split_sources(data, seed=1)["train"]["main"]
    assert (len(rows), len(dropped)) == (4, 2)


def test_a_limit_draws_by_the_seed(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", [alpaca(n) for n in range(20)])
    data = Data.model_validate({"sources": {"main": {"path": path, "limit": 3}}, "held_out": 2})
    drawn = [{row.id for row in split_sources(data, seed)["train"]["main"][0]} for seed in (1, 2)]
    assert [len(ids) for ids in drawn] == [3, 3]
    assert drawn[0] != drawn[1]


def test_too_few_rows_are_told(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.jsonl", [alpaca(n) for n in range(3)])
    data = Data.model_validate({"sources": {"main": {"path": path}}, "held_out": 5})
    with pytest.raises(UserError, match=r"data\.sources\.main: 3 good rows \(0 dropped\) are too few to hold 5 out"):
        split_sources(data, seed=1)


@pytest.mark.parametrize(
    ("source", "words"),
    [({"path": "nowhere.jsonl"}, "there is no file or folder"), ({"path": "README.md"}, "looks like no format")],
)
def test_what_cannot_be_read_is_told_by_its_key(source: dict[str, str], words: str) -> None:
    data = Data.model_validate({"sources": {"shop": source}})
    with pytest.raises(UserError, match=rf"data\.sources\.shop.*{words}"):
        content_key("data.sources.shop", data.sources["shop"])


def test_the_builtin_tasks_have_answers() -> None:
    data = Data.model_validate({"sources": {"main": {}}, "held_out": 32})
    rows, dropped = split_sources(data, seed=17)["train"]["main"]
    assert len(rows) > 150
    assert not dropped


def test_one_file_s_rows_are_told_apart_by_their_own_flag(tmp_path: Path) -> None:
    rows = [{**alpaca(n), "domain": n % 4 == 0, "kind": "a"} for n in range(20)] + [alpaca(99)]
    path = file_of(tmp_path / "a.jsonl", rows)
    sources = {
        "shop": {"path": path, "where": {"domain": True, "kind": "a"}},
        "general": {"path": path, "where": {"domain": False}},
    }
    halves = split_sources(Data.model_validate({"sources": sources, "held_out": 2}), seed=1)
    taken = {name: {row.turns[0] for half in halves.values() for row in half[name][0]} for name in ("shop", "general")}
    assert taken["shop"] == {alpaca(n)["instruction"] for n in range(0, 20, 4)}
    assert taken["general"] == {alpaca(n)["instruction"] for n in range(20) if n % 4}
    assert not any(half[name][1] for half in halves.values() for name in ("shop", "general"))
    sources["shop"]["where"] = {"domain": "yes"}
    with pytest.raises(UserError, match="0 good rows that `where` takes"):
        split_sources(Data.model_validate({"sources": sources, "held_out": 2}), seed=1)
