"""Every record that crosses a stage's boundary. Each names its maker and its readers.

Knows only plain values. How records become Arrow is in `tables.py`; how they are made is in the stages.
An `id` hashes the record's content (`hashing.key_of`), so the same content has the same id everywhere.
"""

from pipelines.core.records.choices import ChoiceAnswer, Part, Question, Rationale, RationaleTask
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
    | Conversation
    | Dropped
)

__all__ = [
    "Answer",
    "ChoiceAnswer",
    "Completion",
    "Conversation",
    "Dropped",
    "EvalAnswer",
    "HeldOutLoss",
    "Influence",
    "InfluenceMethod",
    "Instruction",
    "Message",
    "Part",
    "Preference",
    "Question",
    "Rationale",
    "RationaleTask",
    "Record",
    "SoftTargets",
    "Split",
    "TaskType",
    "TrainExample",
]
