"""What one step of a run asks of one teacher. Knows figures only; `estimates` and what it is made of work them out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one step asks of one teacher, at most."""

    step: str
    teacher: str
    rows: int
    tokens: int
