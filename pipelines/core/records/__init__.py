"""Every record that crosses a stage's boundary. Each names its maker and its readers.

Knows only plain values. How records become Arrow is in `tables.py`; how they are made is in the stages.
An `id` hashes the record's content (`hashing.key_of`), so the same content has the same id everywhere.
"""

from pipelines.core.records.benchmarks import BenchmarkAnswer, Likelihood
from pipelines.core.records.choices import ChoiceAnswer, Part, Question, Rationale, RationaleTask
from pipelines.core.records.judged import AnswerLikelihood, OpenQuestion, Pair, Said, Score, Side, Talk, Verdict
from pipelines.core.records.learning import Preference, SoftTargets, TrainExample
from pipelines.core.records.measured import EvalAnswer, HeldOutLoss, Influence, InfluenceMethod
from pipelines.core.records.writing import (
    Answer,
    Completion,
    Conversation,
    Dropped,
    Instruction,
    Message,
    Split,
    TaskType,
)

Record = (
    Instruction
    | Completion
    | Answer
    | TrainExample
    | SoftTargets
    | EvalAnswer
    | HeldOutLoss
    | Influence
    | Question
    | RationaleTask
    | Rationale
    | ChoiceAnswer
    | Preference
    | OpenQuestion
    | Talk
    | Pair
    | Verdict
    | Score
    | AnswerLikelihood
    | Likelihood
    | BenchmarkAnswer
    | Conversation
    | Dropped
)

__all__ = [
    "Answer",
    "AnswerLikelihood",
    "BenchmarkAnswer",
    "ChoiceAnswer",
    "Completion",
    "Conversation",
    "Dropped",
    "EvalAnswer",
    "HeldOutLoss",
    "Influence",
    "InfluenceMethod",
    "Instruction",
    "Likelihood",
    "Message",
    "OpenQuestion",
    "Pair",
    "Part",
    "Preference",
    "Question",
    "Rationale",
    "RationaleTask",
    "Record",
    "Said",
    "Score",
    "Side",
    "SoftTargets",
    "Split",
    "Talk",
    "TaskType",
    "TrainExample",
    "Verdict",
]
