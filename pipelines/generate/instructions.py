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
from pipelines.generate.filters import Filter, chain, first_reason
from pipelines.generate.ledger import Ledger
from pipelines.generate.novelty import Pool
from pipelines.generate.prompts import InstructionPrompt
from pipelines.generate.teacher import Faculty, Request, RequestFailed, TeacherId, write_request
from pipelines.generate.usage import Usage, usage

STAGE = "instructions"


@dataclass
class Rounds:
    """The state of a bootstrap: what was kept, what was dropped, and what novelty is measured against."""

    config: Instructions
    filters: list[Filter]
    seeds: list[Instruction]  # training seeds only: the held-out ones are never shown
    novelty: Pool  # all seeds, the held-out ones too, and everything kept
    kept: list[Instruction] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)  # how often each prompt was, as examples may meet again

    def drop(self, reason: str, text: str, detail: str, *key: str) -> None:
        self.dropped.append(Dropped(key_of(STAGE, reason, text, *key), STAGE, reason, text, detail))

    def consider(self, text: str, parents: tuple[str, ...], completion_id: str) -> None:
        """Keep a candidate, or drop it with its reason."""
        reason = first_reason(text, self.filters)
        if reason is not None:
            self.drop(reason, text, "", completion_id)
        elif (near := self.novelty.nearest(text)) is not None:
            self.drop("not new", text, f"ROUGE-L {near.score:.2f} with {near.text!r}", completion_id)
        else:
            self.novelty.add(text)
            id = Instruction.make_id(text, "")
            self.kept.append(Instruction(id, text, "", "bootstrap", "train", parents, completion_id, ""))


def run(config: Instructions, faculty: Faculty, recipe_seed: int, run: StageRun) -> Outcome:
    """Bootstrap until `target` new instructions are kept; rows = the training seeds, then the new ones."""
    everything = list(rows_of(run.inputs["seeds"].folder, Instruction))
    seeds = [i for i in everything if i.split == "train"]
    novelty = Pool(config.max_rouge_l)
    for instruction in everything:
        novelty.add(instruction.text)
    rounds = Rounds(config, chain(config), seeds, novelty)
    asked = asyncio.run(_bootstrap(rounds, faculty, recipe_seed, run))
    new = rounds.kept[: config.target]
    write_rows(run.folder, [*seeds, *new], Instruction, rounds.dropped)
    rows, digest, reasons = summary(run.folder, Instruction)
    cost = asked.cost
    facts = {"new": len(new), "requests": asked.requests, "rounds": asked.rounds, "teacher": config.teacher}
    facts |= cost.facts()
    return Outcome(rows, digest, reasons, cost.prompt_tokens, cost.output_tokens, asked.start_up_seconds, facts)


@dataclass
class _Asked:
    """What the rounds took."""

    requests: int = 0
    rounds: int = 0
    cost: Usage = field(default_factory=Usage)
    start_up_seconds: float = 0.0


async def _bootstrap(rounds: Rounds, faculty: Faculty, recipe_seed: int, run: StageRun) -> _Asked:
    config = rounds.config
    identity = faculty.identity(config.teacher)
    prompt = InstructionPrompt.load(config.prompt)
    ledger: Ledger[Completion] = Ledger(run.runs, identity, Completion)
    total = _Asked()
    run.progress.begin(STAGE, config.target, unit="new")
    began = time.monotonic()
    async with faculty.warm(config.teacher) as teacher:
        total.start_up_seconds = time.monotonic() - began
        run.progress.ready()
        while len(rounds.kept) < config.target:
            if total.rounds == config.max_rounds:
                raise UserError(_too_few(rounds))
            asked = prompts(rounds, prompt, identity, recipe_seed, total.rounds)
            before = len(rounds.kept)
            asking = Asking(teacher, ledger)
            requests = [r for r, _ in asked]
            await asking.all(requests)
            take(asked, asking.said, asking.failed, prompt, rounds)
            total.rounds += 1
            total.requests += len(asked)
            total.cost += usage(requests, asking.said)
            bought = usage(requests, {c.id: c for c in asking.bought}).tokens
            run.progress.advance(min(len(rounds.kept), config.target) - min(before, config.target), bought)
    return total


def prompts(
    rounds: Rounds,
    prompt: InstructionPrompt,
    teacher: TeacherId,
    seed: int,
    number: int,
) -> list[tuple[Request, tuple[str, ...]]]:
    """One round's requests, each with the ids of the instructions it shows."""
    config = rounds.config
    asked = []
    for n in range(config.requests_per_round):
        chance = random.Random(f"{seed}/{number}/{n}")
        own = min(config.own_examples, len(rounds.kept))
        wanted = min(config.seed_examples + config.own_examples - own, len(rounds.seeds))
        shown = chance.sample(rounds.seeds, wanted) + chance.sample(rounds.kept, own)
        chance.shuffle(shown)
        text = prompt.render([i.text for i in shown])
        sampling = config.sampling.model_copy(update={"stop": (*config.sampling.stop, *prompt.stop(len(shown)))})
        request = write_request(teacher, text, sampling, is_chat=prompt.is_chat, ordinal=rounds.asked[text])
        rounds.asked[text] += 1
        asked.append((request, tuple(i.id for i in shown)))
    return asked


def take(
    asked: Sequence[tuple[Request, tuple[str, ...]]],
    said: Mapping[str, Completion],
    failed: Mapping[str, RequestFailed],
    prompt: InstructionPrompt,
    rounds: Rounds,
) -> None:
    """Read a round's completions in id order. A failed request is a dropped row."""
    for request, shown in sorted(asked, key=lambda pair: pair[0].id):
        if (error := failed.get(request.id)) is not None:
            rounds.drop(error.reason, request.prompt[-200:], str(error), request.id)
            continue
        completion = said[request.id]
        candidates, cut = prompt.candidates(completion.text, completion.finish_reason)
        if cut:
            rounds.drop("cut off", completion.text[-200:], "the reply hit max_tokens", completion.id)
        elif not candidates:
            rounds.drop(
                "nothing to read",
                completion.text[:200],
                f"no {prompt.shape} task in the reply",
                completion.id,
            )
        for text in candidates:
            rounds.consider(text, shown, completion.id)


def _too_few(rounds: Rounds) -> str:
    reasons: dict[str, int] = {}
    for row in rounds.dropped:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    return (
        f"instructions: {len(rounds.kept)} of {rounds.config.target} new ones after {rounds.config.max_rounds} rounds; "
        f"dropped: {reasons}. Raise instructions.max_rounds, lower instructions.target, or add seed tasks"
    )
