"""A comparison that a likelihood judges: its stages as they are built, with made-up likelihoods. No Ray starts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.errors import UserError
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Compare, recipe_of
from pipelines.core.records import TrainExample, Verdict
from pipelines.core.storage import Folder
from pipelines.judge import self_check
from pipelines.recipes import compare, judging_by_likelihood
from pipelines.report.markdown import markdown
from pipelines.runs import lineage, reporting
from serving.faculty import ClusterFaculty

RIGHT = [pair.model_said[0] for pair in self_check.pairs() if pair.category == self_check.KNOWN]


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Compare:
    """Two records that answer four questions; who says GOOD has said it well."""
    asked = [{"turns": [f"Say {n}."]} for n in range(4)]
    lines = {"mine": asked}
    for name, good in (("one", (0, 1, 2)), ("two", (2,))):
        said = [f"{'GOOD' if n in good else 'POOR'} {n}" for n in range(4)]
        lines[name] = [{"prompt": f"Say {n}.", "completion": text} for n, text in enumerate(said)]
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = {name: {"kind": "recorded", "files": [str(tmp_path / f"{name}.jsonl")]} for name in ("one", "two")}
    made = recipe_of({
        "name": "small", "method": "compare", "questions": {"path": str(tmp_path / "mine.jsonl")},
        "teachers": {**records, "judge": {"kind": "vllm", "model": str(model)}},
        "answers": {"models": ["one", "two"]},
        "judge": {"kind": "likelihood", "teacher": "judge", "baseline": "two", "bootstrap": {"resamples": 100}},
    })  # fmt: skip
    assert isinstance(made, Compare)
    return made


def run(
    recipe: Compare, runs: Folder, quiet: Progress, monkeypatch: pytest.MonkeyPatch, likes: Sequence[str]
) -> tuple[dict[str, Any], Any]:
    """Answers that are among `likes`, or say GOOD, cost half a nat per token, all others one."""

    def measure(folder: Path, examples: Sequence[TrainExample], *_: Any) -> list[tuple[float, int]]:
        tokenizer = ChatTokenizer(str(folder))
        found = []
        for example in examples:
            learnt = [t for t, weight in zip(example.token_ids, example.weights, strict=True) if weight]
            said = tokenizer.decode_whole(learnt).removesuffix("<|im_end|>")
            is_liked = said in likes or said.startswith("GOOD")
            found.append((len(learnt) * (0.5 if is_liked else 1.0), len(learnt)))
        return found

    monkeypatch.setattr(judging_by_likelihood, "in_a_worker", measure)
    faculty = ClusterFaculty(recipe)
    monkeypatch.setattr(ClusterFaculty, "at", lambda *_: None)
    stages = compare.stages(recipe, faculty)
    folder = runs.child(runner.run_name(recipe.name, stages))
    done = {f.stage.name: f.done for f in runner.run(stages, runs, folder, quiet)}
    return done, reporting.of_run(recipe, folder, stages)


def test_the_likelier_answers_win(
    recipe: Compare, runs: Folder, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, report = run(recipe, runs, quiet, monkeypatch, RIGHT)
    assert list(done) == [
        "judge_check", "judge_fit", "questions", "answers_one", "answers_two", "likelihoods_one", "likelihoods_two",
        "verdicts_pairwise_one",
    ]  # fmt: skip
    one, two = report.judged.models
    assert (one.pairs.wins, one.pairs.ties, one.pairs.losses, one.pairs.unscored) == (2, 2, 0, 0)
    assert one.numbers is two.numbers is None
    assert one.pairs.first_place == one.pairs.disagreed == 0
    (check,) = report.judged.checks
    assert (check.way, check.agreement, check.repeated) == ("likelihood", 1, None)
    assert "it prefers what it finds likelier per token" in markdown(report)
    verdict = next(rows_of(done["verdicts_pairwise_one"].folder, Verdict))
    assert [line.split()[0] for line in lineage.trace(verdict.id, runs.uri)[:2]] == ["verdict", "talk"]


def test_one_that_finds_wrong_answers_likelier_is_not_fit(
    recipe: Compare, runs: Folder, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"not fit to judge \(likelihood\): 0% of its verdicts are right"):
        run(recipe, runs, quiet, monkeypatch, [pair.baseline_said[0] for pair in self_check.pairs()])
    with pytest.raises(UserError, match=r"\(likelihood\): 0% of its verdicts are right"):
        run(recipe, runs, quiet, monkeypatch, [])  # all alike, so every pair is a tie
