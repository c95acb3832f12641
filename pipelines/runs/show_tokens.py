"""One row of a file as its student would see it: every token with its role and the weight of its loss.

Knows how a row becomes an example; imports no torch. What it shows is what training uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from cluster.models import resolve_tokenizer
from pipelines.core.chat import ChatTokenizer, Role
from pipelines.core.config import Learn
from pipelines.core.errors import UserError
from pipelines.formats import ImportFormat
from pipelines.formats.folder import read_file
from pipelines.runs.encoder_decoder import READS_WITHOUT_LOSS, learns_prompts
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
    side: Literal["encoder", "decoder"]  # which part of the model sees it; a causal model is all decoder


def of_row(data: str, format: ImportFormat, row: int, learn: Learn, model: str) -> list[ShownToken]:
    """Tokens of the good row number `row`, from 0, in whole. UserError for what is not there, or cannot be learnt."""
    rows, dropped = read_file(data, format)
    if not 0 <= row < len(rows):
        raise UserError(f"--row {row}: {data} has {len(rows)} good rows, from 0 ({len(dropped)} are dropped)")
    folder = resolve_tokenizer(model, "--tokenizer").folder()
    talk = ChatTokenizer(str(folder), learn.template)
    if talk.is_encoder_decoder and learns_prompts(learn):
        raise UserError(f"--method and --prompt-weight: {READS_WITHOUT_LOSS}")
    tokens = rendered(rows[row], talk)
    weights = token_weights(tokens.roles, learn)
    read = zip(tokens.encoder_ids, tokens.encoder_roles, strict=True)
    written = zip(tokens.ids, tokens.roles, weights, strict=True)
    return [
        *(ShownToken(id, talk.decode_whole([id]), role, 0.0, "encoder") for id, role in read),
        *(ShownToken(id, talk.decode_whole([id]), role, weight, "decoder") for id, role, weight in written),
    ]


def coloured(tokens: Sequence[ShownToken]) -> Table:
    """A line for each token: its role's colour, and reversed where it carries loss. Of two sides, the side too."""
    sides = ["side"] if tokens[0].side == "encoder" else []
    table = Table("id", "token", "role", "weight", *sides, box=None)
    for token in tokens:
        colour = COLOURS[token.role]
        text = Text(repr(token.text)[1:-1], f"{colour} reverse" if token.ce_weight else colour)
        weight = f"{token.ce_weight:g}" if token.ce_weight else ""
        table.add_row(str(token.id), text, Text(token.role, colour), weight, *([token.side] if sides else []))
    return table
