"""Lineage: from any row's id back to its seeds.

Knows which field of which record points to its parent. Reads every finished stage under the runs folder until
it finds an id; no index is kept.
"""

from collections.abc import Iterator
from typing import Any

from pipelines.core import manifest
from pipelines.core.errors import UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.records import (
    Answer,
    AnswerLikelihood,
    BenchmarkAnswer,
    ChoiceAnswer,
    Completion,
    EvalAnswer,
    HeldOutLoss,
    Influence,
    Instruction,
    OpenQuestion,
    Preference,
    Question,
    Rationale,
    RationaleTask,
    Score,
    SoftTargets,
    Talk,
    TrainExample,
    Verdict,
)
from pipelines.core.storage import Folder
from pipelines.generate.ledger import SHARED

_KINDS: dict[str, type[Any]] = {
    "seeds": Instruction, "evolved": Instruction, "instructions": Instruction, "task_types": Instruction,
    "instances": Instruction, "held_out": Instruction, "tasks": Instruction, "answers": Answer, "own_answers": Answer,
    "references": Answer, "examples": TrainExample, "soft_targets": SoftTargets, "evaluate": EvalAnswer,
    "held_out_examples": TrainExample, "held_out_loss": HeldOutLoss, "questions": Question,
    "rationale_tasks": RationaleTask, "rationales": Rationale, "accuracy": ChoiceAnswer,
    "new_tasks": Instruction, "warm_rows": TrainExample, "probe_rows": TrainExample, "reference": TrainExample,
    "held_out_answers": TrainExample, "budget": TrainExample, "influence": Influence, "preferences": Preference,
    "pairs": TrainExample, "pair_losses": HeldOutLoss, "open_questions": OpenQuestion, "talks": Talk,
    "second_talks": Talk, "verdicts": Verdict, "scores": Score, "likelihoods": AnswerLikelihood,
    "judge_check": Verdict, "check_likelihood": Verdict, "judge_check_single": Score, "benchmark": BenchmarkAnswer,
}  # fmt: skip
_PARENTS = (
    "talk_id", "talk_ids", "answer_id", "example_id", "instruction_id", "question_id", "row_id", "chosen_id",
    "rejected_id", "group", "completion_id", "parents", "shown", "completion_ids",
)  # fmt: skip
# Stages that are called `STAGE_NAME`.
_PER_TEACHER = ("soft_targets", "rationales", "talks", "second_talks", "verdicts", "scores", "likelihoods", "benchmark")
MAX_LINES = 200
Known = dict[str, list[tuple[str, Any]]]  # id -> (folder, row); a task that several stages hand on is in all of them


def trace(id: str, runs: str) -> list[str]:
    """The row and its ancestors as indented lines. UserError where no stage holds the id."""
    known = _index(Folder(runs))
    if id not in known:
        raise UserError(f"no row in {runs} has the id {id!r}; ids are in the report and in the stages' part files")
    lines: list[str] = []
    _follow(id, known, 0, set(), lines)
    return lines[:MAX_LINES]


def _follow(id: str, known: Known, depth: int, seen: set[str], lines: list[str]) -> None:
    if id in seen or id not in known:
        return
    seen.add(id)
    where, record = known[id][0]
    lines.append(f"{'  ' * depth}{_kind(record)} {id}  {_words(record)}  [{where}]")
    for parent in dict.fromkeys(parent for _, each in known[id] for parent in _parents(each)):
        _follow(parent, known, depth + 1, seen, lines)


def _parents(record: Any) -> Iterator[str]:
    for name in _PARENTS:
        value = getattr(record, name, ())
        yield from (value,) if isinstance(value, str) else value


def _index(folder: Folder) -> Known:
    known: Known = {}
    for name in folder.folders():
        if name.startswith(SHARED[Completion]):
            completions = folder.child(name)
            for part in completions.files(".parquet"):
                for record in completions.read_records(part, Completion):
                    known.setdefault(record.id, []).append((name, record))
        elif (found := manifest.read(folder.child(name))) and (kind := _KINDS.get(_step(found["stage"]))):
            for row in (*rows_of(folder.child(name), kind), *dropped_of(folder.child(name))):
                known.setdefault(row.id, []).append((name, row))
    return known


def _step(stage: str) -> str:
    """`evolved_2` -> `evolved`, `soft_targets_NAME` -> `soft_targets`."""
    return next((name for name in _PER_TEACHER if stage.startswith(name)), stage.rstrip("_0123456789"))


def _kind(record: Any) -> str:
    if isinstance(record, Instruction):
        return "seed" if record.origin == "seed" else "instruction"
    return type(record).__name__.lower()


def _words(record: Any) -> str:
    if isinstance(record, Completion):
        return f"by model {record.model[:12]}, {record.output_tokens} tokens, ended by {record.finish_reason}"
    if isinstance(record, TrainExample):
        return f"{record.size} tokens, component {record.component!r}"
    if isinstance(record, Influence):
        return f"{record.influence:+.3g} nats, by {record.method}"
    if isinstance(record, Preference):
        return f"{record.margin:.3g} nats between the two"
    if isinstance(record, Question):
        return repr(f"{record.stem} ({record.choices[record.answer]})")
    text = " ".join(str(getattr(record, "text", "")).split())
    return repr(text[:97] + "..." if len(text) > 100 else text)
