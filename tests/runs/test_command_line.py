"""The command line on a recipe with a fake teacher: what a user sees, and the exit codes. Starts no engine."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_plan_shows_every_stage_and_starts_nothing(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    shown = cli("plan", str(recipe))
    assert shown.returncode == 0, shown.stderr
    for stage in ("seeds", "instructions", "answers", "soft_targets", "student", "evaluate"):
        assert f" {stage} " in shown.stdout
    assert "4 layers" in shown.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("instructions.targett=3", "did you mean 'target'"),
        ("instructions.target=0", "instructions.target"),
        ("answers.teacher=nobody", "the teachers are ['main']"),
        ("teachers.main.model=/no/such/folder", "teachers.main.model"),
        ("seeds.tasks=/no/such/file.jsonl", "seeds.tasks"),
        ("instructions.filters=[lenght]", "instructions.filters"),
        ("instructions.prompt=/no/such/prompt.j2", "instructions.prompt"),
        ("student.init.layers=4", "student.init.layers"),
        ("student.train.losses={answer: 0}", "losses"),
    ],
)
def test_a_users_mistake_is_told_in_words(cli: Cli, recipe: Path, setting: str, words: str) -> None:
    shown = cli("plan", str(recipe), "--set", setting)
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_run_refuses_before_any_engine_starts(cli: Cli, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (["--runs", str(tmp_path / "file" / "runs")], "--runs"),
        (["--set", "student.init.kind=model", "--set", "student.init.model=/no"], "student.init"),
    ):
        shown = cli("run", str(recipe), *arguments)
        assert shown.returncode == 2, shown.stderr
        assert words in shown.stderr
        assert "Ray is up" not in shown.stderr


def test_a_taken_port_is_refused(cli: Cli, recipe: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        shown = cli("run", str(recipe), "--port", str(taken.getsockname()[1]))
    assert shown.returncode == 2, shown.stderr
    assert "choose another with --port" in shown.stderr


def test_other_tokens_are_refused_in_words(cli: Cli, recipe: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(model, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    setting = f"student.init={{kind: model, model: {other}}}"
    shown = cli("run", str(recipe), "--set", setting)
    assert shown.returncode == 2, shown.stderr
    assert "different tokens (2 of" in shown.stderr


def test_commands_on_a_run_that_is_not_there(cli: Cli) -> None:
    for command in (["report", "nothing"], ["rm", "nothing"], ["serve", "nothing"], ["trace", "0123"]):
        shown = cli(*command)
        assert shown.returncode == 2, (command, shown.stderr)
        assert "nothing" in shown.stderr or "0123" in shown.stderr


def test_doctor_says_what_is_here(cli: Cli) -> None:
    shown = cli("doctor")
    assert shown.returncode == 0, shown.stdout
    assert "Python 3." in shown.stdout
    assert "vllm" in shown.stdout


def test_show_tokens_prints_what_carries_loss(cli: Cli, model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text('[{"instruction": "Name a river.", "input": "", "output": "The Nile."}]')
    common = ("show-tokens", "--data", str(data), "--from", "alpaca", "--tokenizer", str(model))
    shown = cli(*common, "--json")
    assert shown.returncode == 0, shown.stderr
    tokens = json.loads(shown.stdout)
    assert "".join(t["text"] for t in tokens if t["ce_weight"]) == "The Nile.<|im_end|>"
    assert {t["role"] for t in tokens if t["ce_weight"]} == {"assistant", "end"}
    beyond = cli(*common, "--row", "1")
    assert beyond.returncode == 2
    assert "has 1 good rows" in beyond.stderr
