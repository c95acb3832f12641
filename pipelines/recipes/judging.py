"""The stages in which a judge is asked: what it must show first, and its verdicts on each model's answers.

Knows which settings enter each stage's key, and what judges of every kind share. Builds inert stages; starts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.core.config import AnyJudge, AskedJudge, Sampling
from pipelines.core.errors import UserError
from pipelines.core.hashing import rows_digest
from pipelines.core.parts import rows_of, write_rows
from pipelines.core.recipe import Compare
from pipelines.core.records import Dropped, Pair, Score, Talk, Verdict
from pipelines.core.stage import Outcome, Stage, StageRun
from pipelines.generate.faculty import run_rows
from pipelines.generate.prompts import Prompt
from pipelines.generate.teacher import TeacherId
from pipelines.judge import pairwise, self_check, single
from pipelines.judge.pairwise import PairwiseWork
from pipelines.judge.self_check import Checked
from pipelines.judge.single import SingleWork
from serving.faculty import ClusterFaculty

CHECK, CHECK_SINGLE, FIT = "judge_check", "judge_check_single", "judge_fit"
PAIRWISE, SINGLE = "verdicts_pairwise_", "verdicts_single_"  # and the model's name
_UNPAIRED = "part-unpaired.parquet"


def fit(config: AnyJudge, checks: Sequence[Stage]) -> Stage:
    """The gate: it writes nothing, and lets no run past whose judge is out of bounds."""
    bounds = config.self_check

    def run(stage: StageRun) -> Outcome:
        for done in stage.inputs.values():
            checked = Checked(**done.manifest["facts"]["checked"])
            if faults := checked.faults(bounds):
                raise UserError(
                    f"judge.teacher: {config.teacher!r} is not fit to judge ({checked.way}): {'; '.join(faults)}. Of "
                    "these pairs it is plain which answer is better; take a more capable judge, or move the bounds"
                )
        return Outcome(0, rows_digest([]))

    inputs = {check.name: check for check in checks}
    return Stage(FIT, 1, bounds.model_dump(mode="json"), inputs, run)


class AskedStages:
    """A judge that is asked for verdicts and numbers."""

    def __init__(self, recipe: Compare, config: AskedJudge, faculty: ClusterFaculty) -> None:
        self._recipe, self._config, self._faculty = recipe, config, faculty

    def checks(self) -> list[Stage]:
        """What it says of pairs that are plain, in each way in which it will judge."""
        asked = {"content": self_check.content_key()}
        found = []
        if "pairwise" in self._config.kinds:
            content = {**asked, **self._key(pairwise.PROMPT), "repeats": self_check.REPEATS}
            found.append(Stage(CHECK, 1, content, {}, self._check_pairs, "pairs of which it is plain which is better"))
        if "single" in self._config.kinds:
            content = {**asked, **self._key(single.PROMPT)}
            found.append(Stage(CHECK_SINGLE, 1, content, {}, self._check_single, "the same answers one by one"))
        return found

    def verdicts(self, talks: Mapping[str, Stage]) -> list[Stage]:
        """Its verdicts on every model against the baseline, and its numbers for every model's answers."""
        pairs = [self._pairwise(model, talks) for model in self._recipe.challengers]
        return [*pairs, *(self._single(model, talks[model]) for model in self._recipe.scored)]

    def _check_pairs(self, stage: StageRun) -> Outcome:
        work = PairwiseWork(CHECK, *self._asked(pairwise.PROMPT), self_check.REPEATS)
        made = self._judged(work, self_check.pairs(), stage)
        checked = self_check.of_verdicts(list(rows_of(stage.folder, Verdict)), "pairwise", self_check.REPEATS)
        return with_facts(made, checked)

    def _check_single(self, stage: StageRun) -> Outcome:
        made = self._judged(SingleWork(CHECK_SINGLE, *self._asked(single.PROMPT)), self_check.talks(), stage)
        return with_facts(made, self_check.of_scores(list(rows_of(stage.folder, Score))))

    def _pairwise(self, model: str, talks: Mapping[str, Stage]) -> Stage:
        name = f"{PAIRWISE}{model}"

        def run(stage: StageRun) -> Outcome:
            return self._judged(PairwiseWork(name, *self._asked(pairwise.PROMPT)), pairs_of(name, stage), stage)

        inputs = contestants(self._recipe, model, talks)
        return Stage(name, 1, self._key(pairwise.PROMPT), inputs, run, "both orders of each pair")

    def _single(self, model: str, talks: Stage) -> Stage:
        name = f"{SINGLE}{model}"

        def run(stage: StageRun) -> Outcome:
            work, source = SingleWork(name, *self._asked(single.PROMPT)), stage.inputs["source"].folder
            return run_rows(work, self._faculty, self._config.teacher, name, source, stage)

        kind = f"scores_{model}"
        return Stage(name, 1, self._key(single.PROMPT), {"source": talks}, run, "a number for each answer", kind)

    def _judged(self, work: PairwiseWork | SingleWork, rows: Sequence[Pair | Talk], stage: StageRun) -> Outcome:
        """Rows of the stage's own making, put to the judge like any others."""
        source = stage.folder.child("asked")
        write_rows(source, rows, work.reads)
        return run_rows(work, self._faculty, self._config.teacher, work.stage, source, stage)

    def _asked(self, prompt: str) -> tuple[Sampling, TeacherId, Prompt]:
        return self._config.sampling, self._faculty.identity(self._config.teacher), _prompt(prompt)

    def _key(self, prompt: str) -> dict[str, Any]:
        return {
            "prompt": _prompt(prompt).digest,
            "sampling": self._config.sampling.model_dump(mode="json"),
            "judge": self._faculty.identity(self._config.teacher).digest,
        }


def _prompt(name: str) -> Prompt:
    return Prompt.load(name, "judge", ["turns"])


def with_facts(outcome: Outcome, checked: Checked) -> Outcome:
    return replace(outcome, facts={**outcome.facts, "checked": checked.facts()})


def contestants(recipe: Compare, model: str, talks: Mapping[str, Stage]) -> dict[str, Stage]:
    baseline = recipe.the_judge.baseline
    assert baseline is not None, "without a baseline nobody is compared"
    return {"model": talks[model], "baseline": talks[baseline]}


def pairs_of(name: str, stage: StageRun) -> list[Pair]:
    """The questions that both have answered; the others are written down as dropped."""
    model, baseline = (rows_of(stage.inputs[role].folder, Talk) for role in ("model", "baseline"))
    pairs, lost = pairwise.paired(model, baseline, name)
    if lost:
        stage.folder.child("dropped").write_records(_UNPAIRED, lost, Dropped)
    return pairs
