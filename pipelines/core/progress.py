"""Progress that a person can read: stage, rows done of total, tokens per second, time left.

Knows a terminal from a pipe: one line that rewrites itself, or a line every few seconds. Engine logs never
come here; they go to files.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from pipelines.core.errors import BudgetReached

TOLD_FROM = 0.05  # share of the rows from which on the time left is told


@dataclass
class Budget:
    """What a run may still spend. `None` means no bound."""

    max_tokens: int | None = None
    max_seconds: float | None = None
    started: float = field(default_factory=time.monotonic)
    tokens: int = 0

    def spend(self, tokens: int) -> None:
        """Count tokens (prompt, written or trained on); raises BudgetReached where a bound is passed."""
        self.tokens += tokens
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            raise BudgetReached(f"stopped at --max-tokens: {self.tokens:,} tokens used")
        if self.max_seconds is not None and time.monotonic() - self.started >= self.max_seconds:
            raise BudgetReached(f"stopped at --max-hours: {self.max_seconds / 3600:g} h passed")


@dataclass
class Progress:
    """Counts one stage's work and shows it. Not shared between processes: workers report, the driver shows."""

    budget: Budget = field(default_factory=Budget)
    out: TextIO = field(default_factory=lambda: sys.stderr)
    every_s: float = 5.0
    guard: Callable[[], None] = lambda: None  # raises where the work is no longer this driver's
    label: str = ""
    unit: str = "rows"
    total: int = 0
    done: int = 0
    tokens: int = 0
    _started: float = 0.0
    _shown: float = 0.0
    _told: int = 0  # what was done when it was last shown
    _open_line: bool = False
    _resumed_at: int = 0

    def begin(self, label: str, total: int, done: int = 0, unit: str = "rows") -> None:
        """A new count: `done` of `total` were there before (a resumed stage)."""
        self.label, self.unit, self.total, self.done, self.tokens = label, unit, total, done, 0
        self._resumed_at = done
        self._started, self._shown = time.monotonic(), 0.0
        self._show()

    def ready(self, seconds_ago: float = 0.0) -> None:
        """The engine is up: rates and the time left count from here, without its start-up."""
        self._started = time.monotonic() - seconds_ago

    def advance(self, rows: int, tokens: int = 0) -> None:
        """More rows are done. Raises BudgetReached, or what `guard` raises, after counting them."""
        self.done += rows
        self.tokens += tokens
        if time.monotonic() - self._shown >= (0.2 if self._is_terminal else self.every_s):
            self._show()
        self.guard()
        self.budget.spend(tokens)

    def note(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        print(text, file=self.out, flush=True)

    def end(self) -> None:
        if self.label:
            if self._told != self.done:
                self._show()
            self._end_line()
            self.label = ""

    @property
    def _is_terminal(self) -> bool:
        return self.out.isatty()

    def _show(self) -> None:
        self._shown, self._told = time.monotonic(), self.done
        text = f"  {self.label:<13} {self.done:>6,}/{self.total:,} {self.unit}{self._rate()}"
        if self._is_terminal:
            print(f"\r\033[K{text}", end="", file=self.out, flush=True)
            self._open_line = True
        else:
            print(text, file=self.out, flush=True)

    def _rate(self) -> str:
        elapsed = time.monotonic() - self._started
        fresh = self.done - self._resumed_at
        parts = []
        if self.tokens and elapsed > 0:
            parts.append(f"{self.tokens / elapsed:,.0f} tokens/s")
        # The first rows wait for engines, and say nothing of how long the others will take.
        if fresh > 0 and fresh >= TOLD_FROM * (self.total - self._resumed_at) and self.done < self.total:
            left = elapsed / fresh * (self.total - self.done)
            parts.append(f"{int(left) // 60}:{int(left) % 60:02d} left")
        if self.done >= self.total and elapsed >= 1:
            parts.append(f"{elapsed:.0f} s")
        return "".join(f" · {part}" for part in parts)

    def _end_line(self) -> None:
        if self._open_line:
            print(file=self.out, flush=True)
            self._open_line = False
