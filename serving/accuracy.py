"""Accuracy on multiple-choice questions, of one model after another, through its endpoint.

Knows the questions for testing and what counts as right: the option's very text, written greedily (TinyLLM,
arXiv 2402.04616, section 4), or the right option being the likeliest, which asks nothing of the form. Answers are
committed some at a time; a rerun asks only what is missing. Does not know how models are reached: `choosing.py` does.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cluster.models import parameter_count
from pipelines.core.config import Accuracy, Bootstrap, Sampling, Template
from pipelines.core.hashing import key_of
from pipelines.core.parts import Shard, has_shard, rows_of, summary, write_shard
from pipelines.core.progress import Progress
from pipelines.core.records import ChoiceAnswer, Dropped, Question
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.teacher import Request, RequestFailed
from pipelines.train.choices import source_of
from serving.api import Address, Api
from serving.choosing import Chooser, chooser
from serving.endpoints import Endpoints
from serving.metrics import Interval, ratio_interval
from serving.served import Served

STAGE = "accuracy"
SHARD_ROWS = 64
BEFORE, AFTER, MAJORITY = "student-before", "student", "majority"
STAGES = {BEFORE: "accuracy_before", AFTER: STAGE}
SHOWS = 2.8  # standard errors: a true difference of so many is found four times in five, at a level of 5 %


@dataclass(frozen=True)
class ChoiceScore:
    """Shares of right answers. Who always gives the majority's answer writes it and finds it likeliest."""

    model: str  # "student-before", "student", "majority"
    text: Interval
    likelihood: Interval
    rows: int


@dataclass(frozen=True)
class Difference:
    """A student's share of right answers minus that before, over the same questions."""

    share: Interval
    smallest: float  # that so many questions can show


@dataclass(frozen=True)
class Gain:
    """What training brought, over the questions that both students answered."""

    text: Difference
    likelihood: Difference
    rows: int


def run(
    config: Accuracy, answer_prefix: str, endpoints: Endpoints, model: Served, template: Template, run: StageRun
) -> Outcome:
    """Ask one model all questions for testing. What it reads begins with the answer's prefix."""
    questions = list(rows_of(run.inputs["questions"].folder, Question))
    tested = [question for question in questions if question.part == "test"]
    starts = range(0, len(tested), SHARD_ROWS)
    shards = [Shard(n, model.name, at, min(at + SHARD_ROWS, len(tested))) for n, at in enumerate(starts)]
    todo = [shard for shard in shards if not has_shard(run.folder, shard)]
    run.progress.begin(STAGES[model.name], len(tested), len(tested) - sum(s.stop - s.start for s in todo))

    async def ask_the_rest(base_url: str) -> None:
        async with Api(Address(base_url, model.name)) as api:
            speaker = chooser(api, model, template)
            for shard in todo:
                asked = tested[shard.start : shard.stop]
                answers, lost = await ask(speaker, model.name, asked, answer_prefix, config.max_tokens, run.progress)
                write_shard(run.folder, shard, answers, ChoiceAnswer, lost)

    if todo:
        base_url = endpoints.up([model])
        asyncio.run(ask_the_rest(base_url))
        endpoints.down(base_url)
    return _outcome(run, model, questions)


async def ask(
    model: Chooser, name: str, tested: Sequence[Question], prefix: str, max_tokens: int, progress: Progress
) -> tuple[list[ChoiceAnswer], list[Dropped]]:
    """One model's answers, in the questions' order, and the questions whose requests failed."""

    async def one(question: Question) -> ChoiceAnswer | Dropped:
        source = source_of(prefix, question)
        request = Request(key_of(STAGE, question.id), source, True, Sampling(temperature=0, max_tokens=max_tokens))
        try:
            said = await model.write(request)
            logprobs = await model.likelihoods(source, question.choices)
        except RequestFailed as error:
            id = key_of(STAGE, "dropped", name, question.id)
            return Dropped(id, STAGE, error.reason, source, f"{name}: {error}")
        progress.advance(1, said.prompt_tokens + said.output_tokens)
        return ChoiceAnswer(
            key_of(STAGE, name, question.id), question.id, name, said.text, said.finish_reason,
            _written(said.text, question.choices), int(np.argmax(logprobs)), question.answer,
        )  # fmt: skip

    made = await asyncio.gather(*map(one, tested))
    return [a for a in made if isinstance(a, ChoiceAnswer)], [d for d in made if isinstance(d, Dropped)]


def _written(text: str, choices: Sequence[str]) -> int:
    said = text.strip()
    return choices.index(said) if said in choices else -1


def scores(
    rows: Sequence[ChoiceAnswer], questions: Sequence[Question], config: Bootstrap, seed: int
) -> list[ChoiceScore]:
    """Figures of each student that answered, and of the majority's answer; `questions` are those of both parts."""
    found = []
    for model in (BEFORE, AFTER):
        if answered := _of(model, rows):
            text = _share(map(_by_text, answered), config, seed)
            likelihood = _share(map(_by_likelihood, answered), config, seed)
            found.append(ChoiceScore(model, text, likelihood, len(answered)))
    right = by_majority(questions)
    share = _share(right, config, seed)
    return [*found, ChoiceScore(MAJORITY, share, share, len(right))]


def gain(rows: Sequence[ChoiceAnswer], config: Bootstrap, seed: int) -> Gain | None:
    """Student minus student before, question by question; None where fewer than two have both their answers."""
    before = {row.question_id: row for row in _of(BEFORE, rows)}
    pairs = [(before[row.question_id], row) for row in _of(AFTER, rows) if row.question_id in before]
    if len(pairs) < 2:
        return None

    def difference(is_right: Callable[[ChoiceAnswer], bool]) -> Difference:
        each = [float(is_right(after)) - float(is_right(first)) for first, after in pairs]
        error = float(np.std(each, ddof=1)) / len(each) ** 0.5
        return Difference(_share(each, config, seed), SHOWS * error)

    return Gain(difference(_by_text), difference(_by_likelihood), len(pairs))


def by_majority(questions: Sequence[Question]) -> list[bool]:
    """Whether the commonest right answer among those for training is right, of each for testing by id.

    An answer is its text where all offer the same choices, such as yes, no and maybe; else its place among them.
    """
    is_same = len({frozenset(question.choices) for question in questions}) == 1

    def right(question: Question) -> str | int:
        return question.choices[question.answer] if is_same else question.answer

    counts = Counter(right(question) for question in questions if question.part == "train")
    commonest = min(counts, key=lambda each: (-counts[each], str(each)))
    tested = sorted((question for question in questions if question.part == "test"), key=lambda each: each.id)
    return [right(question) == commonest for question in tested]


def _of(model: str, rows: Sequence[ChoiceAnswer]) -> list[ChoiceAnswer]:
    """In one order for all models, so that the same questions are drawn again."""
    return sorted((row for row in rows if row.model == model), key=lambda row: row.question_id)


def _by_text(row: ChoiceAnswer) -> bool:
    return row.written == row.answer


def _by_likelihood(row: ChoiceAnswer) -> bool:
    return row.likeliest == row.answer


def _share(values: Iterable[float], config: Bootstrap, seed: int) -> Interval:
    each = list(values)
    return ratio_interval(each, [1.0] * len(each), config.confidence, config.resamples, seed)


def _outcome(run: StageRun, model: Served, questions: Sequence[Question]) -> Outcome:
    rows, digest, dropped = summary(run.folder, ChoiceAnswer)
    answers, majority = list(rows_of(run.folder, ChoiceAnswer)), by_majority(questions)
    facts = {
        "accuracy": {"text": _mean(map(_by_text, answers)), "likelihood": _mean(map(_by_likelihood, answers))},
        "majority": _mean(majority),
        "questions": len(majority),
        "parameters": parameter_count(model.folder),
    }
    return Outcome(rows, digest, dropped, facts=facts)


def _mean(values: Iterable[bool]) -> float | None:
    """None where nobody answered."""
    each = list(values)
    return fmean(each) if each else None
