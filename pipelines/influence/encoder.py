"""Rows become examples as the student's training would have them, wherever it is asked about them.

Knows the template and how long a row may be. Does not know where rows come from. Pickles as these settings.
"""

from dataclasses import dataclass

from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn
from pipelines.core.records import Conversation, Dropped, TrainExample
from pipelines.train.examples import of_conversation


@dataclass(frozen=True)
class Encoder:
    """See reference_rows.Encode. Of a row the answer counts."""

    tokenizer: ChatTokenizer
    max_length: int

    def __call__(self, row: Conversation) -> TrainExample | Dropped:
        return of_conversation(row, self.tokenizer, Learn(template=self.tokenizer.template), self.max_length)
