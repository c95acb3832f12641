"""What is measured of models and rows: answers to held-out tasks, losses, influences."""

from dataclasses import dataclass
from typing import Literal

InfluenceMethod = Literal["exact", "first_order", "sampled"]


@dataclass(frozen=True, slots=True)
class EvalAnswer:
    """One model's result on one held-out prompt, through its endpoint. Maker: `evaluate`. Reader: report.

    `text` is the first of its answers; `rouge_l` and `repeated_3grams` are means over all of them.
    """

    id: str
    instruction_id: str
    model: str  # "teacher", "student", "student before"
    text: str
    finish_reason: str  # "": no answer was asked for, and text and the figures of answers say nothing
    reference: str
    nll: float  # summed negative log-likelihood of the reference's tokens, in nats
    reference_tokens: int  # 0, with an `nll` of 0: the model tells no likelihood
    rouge_l: float  # F1 of an answer against the reference
    repeated_3grams: float  # share of an answer's 3-grams that stood earlier in it


@dataclass(frozen=True, slots=True)
class HeldOutLoss:
    """One model's loss on one held-out example. Maker: `held_out_loss`. Reader: report."""

    id: str
    example_id: str
    source: str
    model: str  # "student-before", "student", or a teacher's name
    nll: float  # summed negative log-likelihood of the weighted tokens, in nats
    tokens: int  # how many those are


@dataclass(frozen=True, slots=True)
class Influence:
    """How much a step on one row alone helped one student. Maker: a probe. Readers: who chooses rows, report.

    Losses are those of a reference set, in nats. Of an estimate the loss after the step is what it says.
    """

    id: str
    row_id: str
    method: InfluenceMethod
    influence: float  # null_step - after: above 0 the row lowered the loss
    before: float
    after: float  # a step on this row
    null_step: float  # after a step without news, which the optimizer's moments alone make: the baseline
    noise: float  # how far from 0 rounding alone may bring an influence; 0 where no loss is measured for each row
    own_loss: float  # the row's, per weighted token, before the step: a score that influence has to tell more than
