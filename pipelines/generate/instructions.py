"""Bootstrap rounds: the teacher sees some tasks and writes more (Self-Instruct, arXiv 2212.10560, section 2.1).

Knows how prompts are drawn, and which candidates are kept. The rounds are a pure function of the recipe's seed
and of what the teacher said; what it said is in the ledger, so a killed run replays its rounds in seconds and
goes on where it was, and a larger target extends. Candidates are taken in id order, never in arrival order.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.core.config import Instructions
from pipelines.core.errors import UserError
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Completion, Dropped, Instruction
from pipelines.core.stage import Outcome, StageRun
from pipelines.generate.asking import Asking
from pipelines.generate.faculty import Faculty
from pipelines.generate.filters import Filter, chain, first_reason
from pipelines.generate.ledger import Ledger
from pipelines.generate.novelty import Pool
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.replies import Candidate
from pipelines.generate.teacher import Request, RequestFailed, TeacherId, write_request
from pipelines.generate.usage import Usage, usage

STAGE = "instructions"


@dataclass(frozen=True)
class Asked:
    """One request of a round: what it showed, and the group of samples that it belongs to."""

    request: Request
    shown: Sequence[Instruction]
    group: str


@dataclass
class Rounds:
    """The state of a bootstrap: what was kept, what was dropped, and what novelty is measured against."""

    config: Instructions
    filters: list[Filter]
    seeds: list[Instruction]  # training seeds only: the held-out ones are never shown
    novelty: Pool  # all seeds, the held-out ones too, and everything kept
    prompt: InstructionPrompt
    kept: list[Instruction] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)  # how often each prompt was, as examples may meet again

    def drop(self, reason: str, text: str, detail: str, *key: str) -> None:
        self.dropped.append(Dropped(key_of(STAGE, reason, text, *key), STAGE, reason, text, detail))

    def consider(self, candidate: Candidate, asked: Asked, completion_id: str) -> None:
        """Keep a candidate, or drop it with its reason."""
        text = candidate.text
        reason = first_reason(text, self.filters)
        if reason is not None:
            self.drop(reason, text, "", completion_id)
        elif (near := self.novelty.nearest(text)) is not None:
            self.drop("not new", text, f"ROUGE-L {near.score:.2f} with {near.text!r}", completion_id)
        else:
            self.novelty.add(text)
            id = Instruction.make_id(text, candidate.input)
            parents = tuple(i.id for i in asked.shown)
            new = Instruction(id, text, candidate.input, "bootstrap", "train", parents, completion_id,
                              candidate.output, asked.group)  # fmt: skip
            self.kept.append(new)


def run(config: Instructions, faculty: Faculty, recipe_seed: int, run: StageRun) -> Outcome:
    """Bootstrap until `target` new instructions are kept; rows = the training seeds, then the new ones."""
    everything = list(rows_of(run.inputs["seeds"].folder, Instruction))
    seeds = [i for i in everything if i.split == "train"]
    prompt = InstructionPrompt.load(config.prompt)
    novelty = Pool(config.max_rouge_l)
    for instruction in everything:
        novelty.add(instruction.text)
    rounds = Rounds(config, chain(config), _shown(config, prompt, seeds), novelty, prompt)
    total = asyncio.run(_bootstrap(rounds, faculty, recipe_seed, run))
    new = rounds.kept[: config.target]
    write_rows(run.folder, [*seeds, *new], Instruction, rounds.dropped)
    rows, digest, reasons = summary(run.folder, Instruction)
    cost = total.cost
    facts = {"new": len(new), "requests": total.requests, "rounds": total.rounds, "teacher": config.teacher}
    facts |= {"teacher_digest": faculty.identity(config.teacher).digest, **cost.facts()}
    return Outcome(rows, digest, reasons, cost.prompt_tokens, cost.output_tokens, total.start_up_seconds, facts)


def _shown(config: Instructions, prompt: InstructionPrompt, seeds: list[Instruction]) -> list[Instruction]:
    """The seeds that may be shown. UserError where none may."""
    wanted = [i for i in seeds if config.show == "all" or i.task_type == config.show]
    shown = [i for i in wanted if prompt.can_show(i)]
    if not shown:
        raise UserError(
            f"instructions.show: {config.show!r} and instructions.prompt: {config.prompt!r} leave none of {len(seeds)} "
            "seeds to show (classification seeds say `is_classification: true`; triples need an output in each)"
        )
    return shown


@dataclass
class _Total:
    """What the rounds took."""

    requests: int = 0
    rounds: int = 0
    cost: Usage = field(default_factory=Usage)
    start_up_seconds: float = 0.0


async def _bootstrap(rounds: Rounds, faculty: Faculty, recipe_seed: int, run: StageRun) -> _Total:
    config = rounds.config
    identity = faculty.identity(config.teacher)
    ledger: Ledger[Completion] = Ledger(run.runs, identity, Completion)
    total = _Total()
    run.progress.begin(STAGE, config.target, unit="new")
    began = time.monotonic()
    async with faculty.warm(config.teacher) as teacher:
        total.start_up_seconds = time.monotonic() - began
        run.progress.ready()
        while len(rounds.kept) < config.target:
            if total.rounds == config.max_rounds:
                raise UserError(_too_few(rounds))
            asked = prompts(rounds, identity, recipe_seed, total.rounds)
            before = len(rounds.kept)
            asking = Asking(teacher, ledger)
            requests = [each.request for each in asked]
            await asking.all(requests)
            take(asked, asking.said, asking.failed, rounds)
            total.rounds += 1
            total.requests += len(asked)
            total.cost += usage(requests, asking.said)
            bought = usage(requests, {c.id: c for c in asking.bought}).tokens
            run.progress.advance(min(len(rounds.kept), config.target) - min(before, config.target), bought)
    return total


def prompts(rounds: Rounds, teacher: TeacherId, seed: int, number: int) -> list[Asked]:
    """One round's requests."""
    config, prompt = rounds.config, rounds.prompt
    asked = []
    for n in range(config.requests_per_round):
        chance = random.Random(f"{seed}/{number}/{n}")
        own = min(config.own_examples, len(rounds.kept))
        wanted = min(config.seed_examples + config.own_examples - own, len(rounds.seeds))
        shown = chance.sample(rounds.seeds, wanted) + chance.sample(rounds.kept, own)
        chance.shuffle(shown)
        text, stop = prompt.render(shown), prompt.stop(len(shown), config.list_end)
        sampling = config.sampling.model_copy(update={"stop": (*config.sampling.stop, *stop)})
        group = key_of("group", teacher.digest, text)
        for _ in range(config.samples):
            request = write_request(teacher, text, sampling, is_chat=prompt.is_chat, ordinal=rounds.asked[text])
            rounds.asked[text] += 1
            asked.append(Asked(request, shown, group))
    return asked


def take(
    asked: Sequence[Asked], said: Mapping[str, Completion], failed: Mapping[str, RequestFailed], rounds: Rounds
) -> None:
    """Read a round's completions in id order. A failed request is a dropped row."""
    for each in sorted(asked, key=lambda each: each.request.id):
        id = each.request.id
        if (error := failed.get(id)) is not None:
            rounds.drop(error.reason, each.request.prompt[-200:], str(error), id)
            continue
        reply = rounds.prompt.read(said[id].text, said[id].finish_reason, len(each.shown))
        for n, (reason, text) in enumerate(reply.lost):
            rounds.drop(reason, text[-500:], f"in a reply that ended by {said[id].finish_reason}", id, str(n))
        for candidate in reply.candidates:
            rounds.consider(candidate, each, id)


def _too_few(rounds: Rounds) -> str:
    reasons: dict[str, int] = {}
    for row in rounds.dropped:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    return (
        f"instructions: {len(rounds.kept)} of {rounds.config.target} new ones after {rounds.config.max_rounds} rounds; "
        f"dropped: {reasons}. Raise instructions.max_rounds, lower instructions.target, or add seed tasks"
    )
