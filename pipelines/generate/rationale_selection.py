"""What is kept of all sources' rationales: those without a fault and, with `select`, each question's best of them.

Knows the filters' order and how rationales are compared by their words. How likely a model finds one is measured
elsewhere, and comes as a function. Nothing here depends on the order of the sources.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from pipelines.core.config import Rationales
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Dropped, Question, Rationale
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.conclusions import says_right
from pipelines.generate.rationale_filters import fault, own_part, trimmed
from pipelines.generate.rouge import rouge_l

STAGE, ROLE = "rationales", "rationales_"
NOT_CHOSEN = "another was chosen"
Scores = Callable[[list[tuple[Question, Rationale]]], list[float]]  # the higher the better
Questions = Mapping[str, Question]
Judged = tuple[list[Rationale], list[tuple[Rationale, str]]]  # what is kept, and what is not with the reason


def run(config: Rationales, scores: Scores | None, run: StageRun) -> Outcome:
    """Rows by question, then source. `scores` compares a question's rationales; without it their agreement does."""
    questions = {q.id: q for q in rows_of(run.inputs["questions"].folder, Question, lambda q: q.part == "train")}
    roles = sorted(role for role in run.inputs if role.startswith(ROLE))
    read = [row for role in roles for row in rows_of(run.inputs[role].folder, Rationale)]
    rows = [trimmed(row) for row in read] if config.trim else read
    kept, lost = faultless(rows, questions, config)
    if config.select is not None:
        kept, others = best(kept, questions, scores or agreement)
        lost += others
    order = {id: n for n, id in enumerate(questions)}
    kept.sort(key=lambda row: (order[row.question_id], row.source))
    write_rows(run.folder, kept, Rationale, [_dropped(row, reason, questions) for row, reason in lost])
    shortened = [row for row, before in zip(rows, read, strict=True) if row.text != before.text]
    sources = [role.removeprefix(ROLE) for role in roles]
    facts = {
        "sources": {source: _told(source, read, shortened, kept, lost) for source in sources},
        "questions_by_rationales": _histogram(questions, kept),
    }
    return Outcome(*summary(run.folder, Rationale), facts=facts)


def faultless(rows: Sequence[Rationale], questions: Questions, config: Rationales) -> Judged:
    """Without those that trimming left nothing of, and those that a filter of the recipe has something against."""
    kept: list[Rationale] = []
    lost: list[tuple[Rationale, str]] = []
    for row in rows:
        question = questions[row.question_id]
        reason = fault(row, question, config.filters, config.min_words) if row.text else "nothing left"
        if reason is None:
            kept.append(row)
        else:
            lost.append((row, reason))
    return kept, lost


def best(rows: Sequence[Rationale], questions: Questions, scores: Scores) -> Judged:
    """Of each question's the one with the highest score, and of equal ones that with the last id. One alone is the
    best without a score."""
    rivals = Counter(row.question_id for row in rows)
    contested = [row for row in rows if rivals[row.question_id] > 1]
    found = scores([(questions[row.question_id], row) for row in contested]) if contested else []
    score = {row.id: value for row, value in zip(contested, found, strict=True)}
    scored = [replace(row, score=score.get(row.id, 0.0)) for row in rows]
    chosen = {row.question_id: row for row in sorted(scored, key=lambda row: (row.score, row.id))}
    kept = [row for row in scored if chosen[row.question_id] is row]
    return kept, [(row, NOT_CHOSEN) for row in scored if chosen[row.question_id] is not row]


def agreement(pairs: Sequence[tuple[Question, Rationale]]) -> list[float]:
    """1 for saying the right option, and the mean ROUGE-L F1 with the question's other rationales."""
    texts: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for _, row in pairs:
        texts[row.question_id][row.id] = row.text
    scores = []
    for question, row in pairs:
        likeness = fmean(rouge_l(row.text, text) for id, text in texts[row.question_id].items() if id != row.id)
        scores.append(says_right(own_part(row.text), question) + likeness)
    return scores


def _dropped(row: Rationale, reason: str, questions: Questions) -> Dropped:
    source = f"{row.source}, {row.score:.4f}" if reason == NOT_CHOSEN else row.source
    return Dropped(row.id, STAGE, reason, questions[row.question_id].stem, f"{source}: {row.text}")


def _told(
    source: str,
    read: Sequence[Rationale],
    shortened: Sequence[Rationale],
    kept: Sequence[Rationale],
    lost: Sequence[tuple[Rationale, str]],
) -> dict[str, Any]:
    """What became of one source's rationales."""
    counted = {"read": read, "trimmed": shortened, "kept": kept}
    counts = {what: sum(row.source == source for row in rows) for what, rows in counted.items()}
    return {**counts, "dropped": dict(sorted(Counter(reason for row, reason in lost if row.source == source).items()))}


def _histogram(questions: Questions, kept: Sequence[Rationale]) -> dict[str, int]:
    """How many questions have how many rationales."""
    counts = Counter(row.question_id for row in kept)
    return {str(n): many for n, many in sorted(Counter(counts[id] for id in questions).items())}
