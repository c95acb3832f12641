"""`tutelage plan --profile`: what will be asked of the cluster, in words. Starts nothing."""

import subprocess
from collections.abc import Callable
from pathlib import Path

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_plan_tells_what_each_role_asks_and_where(cli: Cli, recipe: Path) -> None:
    shown = cli("plan", str(recipe), "--profile", "pools", "--set", "student.train.workers=8")
    assert shown.returncode == 0, shown.stderr
    assert (
        "student, on pool 'students' (0 or 1 node of 88 CPU, 8 A100): student.train.workers 1 × 8 GPU" in shown.stdout
    )
    assert "pool 'students': 8 GPU at one time, of 8" in shown.stdout
    assert " on pool " not in cli("plan", str(recipe)).stdout


def test_what_would_wait_for_ever_is_refused_by_plan_and_run(cli: Cli, recipe: Path) -> None:
    for command in ("plan", "run"):
        shown = cli(command, str(recipe), "--profile", "pools", "--set", "student.train.workers=9")
        assert shown.returncode == 2, shown.stdout
        assert "student.train.workers asks for 1 × 9 GPU" in shown.stderr
        assert "Ray is up" not in shown.stdout + shown.stderr


def test_a_profile_of_several_machines_needs_their_address(cli: Cli, recipe: Path) -> None:
    shown = cli("run", str(recipe), "--profile", "pools")
    assert shown.returncode == 2
    assert "name its cluster with --address" in shown.stderr
