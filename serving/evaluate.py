"""Evaluation of teacher and student through their endpoints, as any client would see them.

Knows held-out prompts with the teacher's reference answers. For each model and prompt: the likelihood of the
reference, where the model can tell it, and answers of its own. Answers are committed per model; a rerun asks only what
is missing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cluster.models import parameter_count
from cluster.session import Session
from pipelines.core import reasoning
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Evaluate, Reasoning
from pipelines.core.hashing import key_of
from pipelines.core.parts import Shard, has_shard, rows_of, summary, write_shard
from pipelines.core.progress import Progress
from pipelines.core.records import Answer, Dropped, EvalAnswer, TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.repetition import repeated_3grams
from pipelines.generate.rouge import rouge_l
from pipelines.generate.teacher import Request, RequestFailed
from pipelines.train import held_out_loss
from pipelines.train.examples import encode
from serving.api import Api
from serving.client import ServedModel
from serving.endpoints import Endpoints
from serving.examinees import Examinee, Writer, at_endpoint
from serving.metrics import Interval, gap_closed, ratio_interval
from serving.served import Served

STAGE = "evaluate"
TEACHER, BEFORE, AFTER = "teacher", "student-before", "student"


@dataclass(frozen=True)
class Score:
    """One model's figures over all prompts."""

    model: str
    nll: Interval | None  # nats per reference token; None: the model tells none
    rouge_l: Interval | None  # None: it was asked for no answers
    repeated_3grams: float | None
    rows: int
    tokens: int


def run(
    config: Evaluate,
    seed: int,
    marks: Reasoning | None,
    endpoints: Endpoints,
    teacher: Examinee | None,
    students: Sequence[Served],
    before: Path | None,
    run: StageRun,
) -> Outcome:
    """Ask every model; `marks` stand around the thoughts of models that think aloud.

    `teacher` can be asked already (None for a fake or recorded one); the students are served here, together. `before`
    is the untrained student where it is not among these: its likelihoods are measured, and it is asked nothing.
    """
    references = list(rows_of(run.inputs["references"].folder, Answer))
    tokenizer = ChatTokenizer(str(students[0].folder))
    order = [*([TEACHER] if teacher else []), *([BEFORE] if before else []), *(s.name for s in students)]
    shards = {name: Shard(n, name, 0, len(references)) for n, name in enumerate(order)}
    todo = [name for name in order if not has_shard(run.folder, shards[name])]
    run.progress.begin(STAGE, len(order) * len(references), (len(order) - len(todo)) * len(references))

    def ask(model: Examinee) -> None:
        asked = _Asked(model, config, seed, tokenizer, run.progress, marks)
        answers, dropped = asyncio.run(asked.all(references))
        write_shard(run.folder, shards[model.name], answers, EvalAnswer, dropped)

    # The students' engines start together, and while the teacher is asked, where there is room for all.
    unserved = [s for s in students if s.name in todo]
    student_url = endpoints.start(unserved) if unserved and not endpoints.in_turns else ""
    if teacher and TEACHER in todo:
        ask(teacher)
    for served in unserved:
        student_url = endpoints.start([served]) if endpoints.in_turns else student_url
        endpoints.wait(student_url)
        ask(at_endpoint(served.name, student_url, served, tokenizer))
    if student_url:
        endpoints.down(student_url)
    if before and BEFORE in todo:
        endpoints.make_way()
        session = endpoints.session.of("student")
        measured = _measured(before, references, seed, tokenizer, marks, session, run.progress)
        write_shard(run.folder, shards[BEFORE], measured, EvalAnswer, [])
    folders = {s.name: s.folder for s in students} | ({BEFORE: before} if before else {})
    sizes = {name: parameter_count(folder) for name, folder in folders.items()}
    return _outcome(run, config, seed, {**({TEACHER: teacher.parameters} if teacher else {}), **sizes})


def _measured(
    folder: Path,
    references: Sequence[Answer],
    seed: int,
    tokenizer: ChatTokenizer,
    marks: Reasoning | None,
    session: Session,
    progress: Progress,
) -> list[EvalAnswer]:
    """The likelihoods of the references by a model that is not served."""
    examples = [_encoded(reference, tokenizer, marks) for reference in references]
    return [
        EvalAnswer(key_of(STAGE, BEFORE, r.id, seed), r.instruction_id, BEFORE, "", "", r.text, nll, tokens, 0.0, 0.0)
        for r, (nll, tokens) in zip(
            references, held_out_loss.in_a_worker(folder, examples, session, progress), strict=True
        )
    ]


def _encoded(reference: Answer, tokenizer: ChatTokenizer, marks: Reasoning | None) -> TrainExample:
    return encode(reference, tokenizer, marks if marks and marks.keep == "train" else None)


@dataclass(frozen=True)
class _Asked:
    """One model's pass over the prompts."""

    model: Examinee
    config: Evaluate
    seed: int
    tokenizer: ChatTokenizer
    progress: Progress
    marks: Reasoning | None = None

    async def all(self, references: Sequence[Answer]) -> tuple[list[EvalAnswer], list[Dropped]]:
        async with Api(self.model.address) as api:
            writer, scorer = self.model.speak(api)
            made = await asyncio.gather(*(self._one(scorer, writer, r) for r in references))
        return [a for a in made if isinstance(a, EvalAnswer)], [d for d in made if isinstance(d, Dropped)]

    async def _one(self, scorer: ServedModel | None, writer: Writer, reference: Answer) -> EvalAnswer | Dropped:
        try:
            return await self._ask(scorer, writer, reference)
        except RequestFailed as error:
            id = key_of(STAGE, "dropped", self.model.name, reference.id)
            return Dropped(id, STAGE, "request failed", reference.prompt, f"{self.model.name}: {error}")

    async def _ask(self, scorer: ServedModel | None, writer: Writer, reference: Answer) -> EvalAnswer:
        scored, weighted = await self._logprobs(scorer, reference) if scorer else (0, [])
        said = await asyncio.gather(*(writer.write(request) for request in self._requests(reference)))
        self.progress.advance(1, scored + sum(s.output_tokens for s in said))
        texts = [answer_in(s.text, self.marks) for s in said]
        return EvalAnswer(
            key_of(STAGE, self.model.name, reference.id, self.seed), reference.instruction_id, self.model.name,
            texts[0], said[0].finish_reason, reference.text, -sum(weighted), len(weighted),
            fmean(rouge_l(text, reference.text) for text in texts), fmean(map(repeated_3grams, texts)),
        )  # fmt: skip

    async def _logprobs(self, scorer: ServedModel, reference: Answer) -> tuple[int, list[float]]:
        """(tokens that were sent, the log-probabilities of those that count)."""
        example = _encoded(reference, self.tokenizer, self.marks)
        logprobs = await scorer.logprobs(list(example.token_ids))
        weighted = [value for value, weight in zip(logprobs, example.weights, strict=True) if weight > 0]
        return len(example.token_ids), weighted

    def _requests(self, reference: Answer) -> list[Request]:
        """The same samples of every model: ids, and with them the seeds, do not name it."""
        ids = [key_of(reference.id, self.seed, n) for n in range(self.config.samples)]
        return [Request(id, reference.prompt, True, self.config.sampling) for id in ids]


def answer_in(text: str, marks: Reasoning | None) -> str:
    """What is compared: the answer without its thoughts; all of it where those never end."""
    parts = reasoning.split(text, marks) if marks else None
    return parts[1] if parts else text


def scores(answers: Sequence[EvalAnswer], config: Evaluate, seed: int) -> list[Score]:
    """Figures of each model that was asked: before, after, teacher; the same resampled prompts for all."""
    result = []
    for model in (BEFORE, AFTER, TEACHER):
        rows = sorted((a for a in answers if a.model == model), key=lambda a: a.instruction_id)
        if not rows:
            continue
        answered = [a for a in rows if a.finish_reason]
        tokens = [a.reference_tokens for a in rows]
        options = (config.confidence, config.resamples, seed)
        overlap = ratio_interval([a.rouge_l for a in answered], [1.0] * len(answered), *options) if answered else None
        result.append(
            Score(
                model=model,
                nll=ratio_interval([a.nll for a in rows], tokens, *options) if any(tokens) else None,
                rouge_l=overlap,
                repeated_3grams=fmean(a.repeated_3grams for a in answered) if answered else None,
                rows=len(rows),
                tokens=sum(tokens),
            )
        )
    return result


def _outcome(run: StageRun, config: Evaluate, seed: int, sizes: dict[str, int | None]) -> Outcome:
    rows, digest, dropped = summary(run.folder, EvalAnswer)
    measured = scores(list(rows_of(run.folder, EvalAnswer)), config, seed)
    losses = [score.nll.mean for score in measured if score.nll is not None]
    closed = gap_closed(*losses) if len(losses) == 3 else None
    return Outcome(rows, digest, dropped, facts={"gap_closed": closed, "parameters": sizes})
