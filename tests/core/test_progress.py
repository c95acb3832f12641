"""Progress in a log and on a terminal, and the budget that ends a run."""

import io

import pytest

from pipelines.core.errors import BudgetReached
from pipelines.core.progress import Budget, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_whole_lines_with_rows_and_speed() -> None:
    out = io.StringIO()
    progress = Progress(out=out, every_s=0.0)
    progress.begin("answers", 1_200, done=200)
    progress.advance(400, tokens=5_000)
    progress.advance(600, tokens=5_000)
    progress.end()
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["answers", "200/1,200", "rows"]
    assert "600/1,200 rows" in lines[1]
    assert "tokens/s" in lines[1]
    assert "left" in lines[1]
    assert ["1,200/1,200 rows" in line for line in lines] == [False, False, True]  # told once
    assert "left" not in lines[-1]
    assert "\r" not in out.getvalue()


def test_a_log_is_not_flooded() -> None:
    out = io.StringIO()
    progress = Progress(out=out, every_s=60.0)
    progress.begin("answers", 1_000)
    for _ in range(1_000):
        progress.advance(1)
    progress.end()
    assert len(out.getvalue().splitlines()) == 2


def test_a_terminal_gets_one_line_that_is_ended_before_anything_else() -> None:
    out = Terminal()
    progress = Progress(out=out)
    progress.begin("answers", 2)
    progress.note("Ray is up")
    progress.advance(2)
    progress.end()
    progress.end()
    shown = [line.split("\r")[-1].removeprefix("\033[K").strip() for line in out.getvalue().split("\n")]
    assert shown[:2] == ["answers            0/2 rows", "Ray is up"]
    assert shown[2].startswith("answers            2/2 rows")
    assert shown[3:] == [""]


def test_a_budget_ends_the_run_after_counting_what_was_done() -> None:
    progress = Progress(Budget(max_tokens=100), out=io.StringIO())
    progress.begin("answers", 3)
    progress.advance(1, tokens=60)
    with pytest.raises(BudgetReached, match="120 tokens"):
        progress.advance(1, tokens=60)
    assert (progress.done, progress.budget.tokens) == (2, 120)
    with pytest.raises(BudgetReached, match=r"0\.5 h"):
        Budget(max_seconds=1800, started=-1e9).spend(0)
    Budget().spend(10**12)
