"""One row of a file as its student would see it: every token with its role and the weight of its loss.

Knows how a row becomes an example; imports no torch. What it shows is what training uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from cluster.models import resolve_tokenizer
from pipelines.core.chat import ChatTokenizer, Role
from pipelines.core.config import Learn
from pipelines.core.errors import UserError
from pipelines.formats import ImportFormat
from pipelines.formats.folder import read_file
from pipelines.train.examples import rendered
from pipelines.train.weights import token_weights

COLOURS: dict[Role, str] = {
    "template": "dim", "separator": "yellow", "system": "magenta", "user": "cyan", "input": "blue",
    "assistant": "green", "end": "bold green",
}  # fmt: skip


@dataclass(frozen=True)
class ShownToken:
    """One token. `ce_weight` is the weight of predicting it in the cross-entropy."""

    id: int
    text: str
    role: Role
    ce_weight: float


def of_row(data: str, format: ImportFormat, row: int, learn: Learn, model: str) -> list[ShownToken]:
    """Tokens of the good row number `row`, from 0, in whole. UserError for what is not there."""
    rows, dropped = read_file(data, format)
    if not 0 <= row < len(rows):
        raise UserError(f"--row {row}: {data} has {len(rows)} good rows, from 0 ({len(dropped)} are dropped)")
    folder = resolve_tokenizer(model, "--tokenizer").folder()
    talk = ChatTokenizer(str(folder), learn.template)
    tokens = rendered(rows[row], talk)
    weights = token_weights(tokens.roles, learn)
    return [
        ShownToken(id, talk.decode_whole([id]), role, weight)
        for id, role, weight in zip(tokens.ids, tokens.roles, weights, strict=True)
    ]


def coloured(tokens: Sequence[ShownToken]) -> Table:
    """A line for each token: its role's colour, and reversed where it carries loss."""
    table = Table("id", "token", "role", "weight", box=None)
    for token in tokens:
        colour = COLOURS[token.role]
        text = Text(repr(token.text)[1:-1], f"{colour} reverse" if token.ce_weight else colour)
        table.add_row(str(token.id), text, Text(token.role, colour), f"{token.ce_weight:g}" if token.ce_weight else "")
    return table
