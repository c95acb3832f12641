"""Whether a judge is fit to judge: what it says of answers of which it is plain which is better.

Knows the pairs that ship (`core/judge_check.jsonl`): a right answer and a wrong one, which is the longer one about as
often; and the same answer twice. Knows what is counted and what the bounds mean. Asks nobody.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from statistics import fmean
from typing import Any, Literal

from pipelines.core.builtin import JUDGE_CHECK
from pipelines.core.config import JudgeCheck
from pipelines.core.hashing import file_digest, key_of
from pipelines.core.records import Pair, Score, Talk, Verdict
from pipelines.judge import win_rates
from pipelines.judge.pairwise import ORDERS

REPEATS = 2
KNOWN, SAME = "known", "same"  # the categories of pairs
RIGHT, WRONG = "right", "wrong"  # the names of those that answered

Way = Literal["pairwise", "single", "likelihood"]


@dataclass(frozen=True)
class Checked:
    """What a judge showed, in one way of judging. Shares."""

    way: Way
    replies: int  # that were asked for
    unparsable: float  # of them; those that never came are among these
    agreement: float  # of the verdicts on a right answer and a wrong one, those that are right
    agreement_when_shorter: float  # the same where the right answer is the shorter one
    first_place: float  # of pairs, those that the first place won in both orders
    second_place: float
    repeated: float | None  # of verdicts that were asked for twice, those that came out alike; None: nothing was

    def facts(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}

    def faults(self, bounds: JudgeCheck) -> list[str]:
        """What is out of bounds, in words."""
        biased = self.first_place + self.second_place
        told = {
            f"{self.agreement:.0%} of its verdicts are right (self_check.agreement: at least {bounds.agreement:.0%})": (
                self.agreement < bounds.agreement
            ),
            f"{self.unparsable:.0%} of its replies hold no verdict (self_check.unparsable: at most "
            f"{bounds.unparsable:.0%})": self.unparsable > bounds.unparsable,
            f"the same place won in both orders of {biased:.0%} of the pairs, the first in {self.first_place:.0%} "
            f"(self_check.position_bias: at most {bounds.position_bias:.0%})": biased > bounds.position_bias,
        }
        return [words for words, is_so in told.items() if is_so]


def content_key() -> str:
    """What of the pairs enters a stage's key."""
    return file_digest(JUDGE_CHECK)


def pairs() -> list[Pair]:
    """All pairs that ship."""
    return [_pair(row) for row in _rows()]


def talks() -> list[Talk]:
    """The right and the wrong answers, each by itself."""
    return [talk for talk in sides() if talk.category == KNOWN]


def sides() -> list[Talk]:
    """Both answers of every pair."""
    return [_talk(row, name) for row in _rows() for name in (RIGHT, WRONG)]


def of_verdicts(verdicts: Sequence[Verdict], way: Way, repeats: int) -> Checked:
    """What verdicts on `pairs()` show, each order of which was asked for `repeats` times."""
    asked = len(_rows()) * len(ORDERS) * repeats
    parsed = [verdict for verdict in verdicts if verdict.says != "unscored"]
    right = {v.id: win_rates.winner(v) == "model" for v in parsed if v.category == KNOWN}
    shorter = {row["id"] for row in _rows() if RIGHT in row and len(row[RIGHT]) < len(row[WRONG])}
    places = win_rates.place_shares(win_rates.contests(verdicts))
    return Checked(
        way,
        asked,
        1 - len(parsed) / asked,
        _share(list(right.values())),
        _share([right[v.id] for v in parsed if v.id in right and v.question_id in shorter]),
        places["first"],
        places["second"],
        _repeated(parsed) if repeats > 1 else None,
    )


def of_scores(scores: Sequence[Score]) -> Checked:
    """What numbers for `talks()` show: a right answer deserves more than a wrong one."""
    given = {(s.question_id, s.model): s.value for s in scores if s.value}
    both = [row for row in _rows() if RIGHT in row and {(row["id"], RIGHT), (row["id"], WRONG)} <= given.keys()]
    right = {row["id"]: given[row["id"], RIGHT] > given[row["id"], WRONG] for row in both}
    shorter = [right[row["id"]] for row in both if len(row[RIGHT]) < len(row[WRONG])]
    asked = len(talks())
    return Checked(
        "single", asked, 1 - len(given) / asked, _share(list(right.values())), _share(shorter), 0.0, 0.0, None
    )


def _repeated(parsed: Sequence[Verdict]) -> float:
    by_order: dict[tuple[str, str], list[str]] = {}
    for verdict in parsed:
        by_order.setdefault((verdict.question_id, verdict.first), []).append(verdict.says)
    return _share([len(set(said)) == 1 for said in by_order.values() if len(said) > 1])


def _share(found: Sequence[bool]) -> float:
    return fmean(found) if found else 0.0


@cache
def _rows() -> tuple[dict[str, str], ...]:
    return tuple(json.loads(line) for line in JUDGE_CHECK.read_text(encoding="utf-8").splitlines())


def _pair(row: dict[str, str]) -> Pair:
    mine, other = (_talk(row, name) for name in (RIGHT, WRONG))
    return Pair(
        key_of("check", row["id"]), row["id"], mine.category, RIGHT, WRONG, mine.turns, (), mine.said, other.said,
        (mine.id, other.id),
    )  # fmt: skip


def _talk(row: dict[str, str], name: str) -> Talk:
    category, said = (KNOWN, row[name]) if RIGHT in row else (SAME, row[SAME])
    id = key_of("check", row["id"], name)
    return Talk(id, row["id"], category, name, (row["question"],), (), (said,), (), ("stop",))
