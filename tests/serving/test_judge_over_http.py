"""A comparison whose judge and models are behind an API that misbehaves.

What may pass is tried again, and no verdict that was given is asked for anew. No Ray starts.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Asked, Wire, says

from pipelines.core import runner
from pipelines.core.errors import Unreachable, UserError
from pipelines.core.parts import dropped_of, rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Compare, recipe_of
from pipelines.core.records import Talk, Verdict
from pipelines.core.storage import Folder
from pipelines.judge import self_check
from pipelines.recipes import compare
from pipelines.runs import reporting
from serving import api as module
from serving.faculty import ClusterFaculty

RIGHT = {pair.model_said[0] for pair in self_check.pairs() if pair.category == self_check.KNOWN}


@pytest.fixture
def recipe(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)
    rows = [{"turns": [f"Say {n}.", "Again."]} for n in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"kind": "http", "base_url": server.url, "retries": 2, "at_once": 4}
    made = recipe_of({
        "name": "small", "method": "compare", "questions": {"path": str(tmp_path / "mine.jsonl")},
        "teachers": {name: {**spec, "model": name} for name in ("one", "two", "judge")},
        "answers": {"models": ["one", "two"]},
        "judge": {"teacher": "judge", "kinds": ["pairwise"], "baseline": "two", "bootstrap": {"resamples": 100}},
    })  # fmt: skip
    assert isinstance(made, Compare)
    return made


def judge(asked: Asked) -> Wire:
    """What is right, or else what says `one`, is better. A conversation's last message is the question."""
    if asked.body["model"] != "judge":
        return says(f"{asked.body['model']} {len(asked.body['messages'])}")
    answers = re.findall(r"<assistant [AB] (\w+)>\n(.*?)\n</assistant", asked.prompt, re.DOTALL)
    good = [text in RIGHT or text.startswith("one") for _, text in answers[-2:]]
    return says(f"So.\n[[{'tie' if good[0] == good[1] else 'A' if good[0] else 'B'}]]")


def run(recipe: Compare, runs: Folder, quiet: Progress) -> dict[str, Any]:
    stages = compare.stages(recipe, ClusterFaculty(recipe))
    folder = runs.child(runner.run_name(recipe.name, stages))
    done = {f.stage.name: f.done for f in runner.run(stages, runs, folder, quiet)}
    return {**done, "report": reporting.of_run(recipe, folder, stages)}


def test_busy_and_broken_replies_are_tried_again_and_the_verdicts_are_whole(
    server: ApiServer, recipe: Compare, runs: Folder, quiet: Progress
) -> None:
    tries = Counter[str]()

    def moody(asked: Asked) -> Wire:
        """Every third request is troubled, in one of two ways, at its first try."""
        tries[request := json.dumps(asked.body)] += 1
        turn = len(tries) % 6 if tries[request] == 1 else 0
        return Wire(503) if turn == 2 else Wire(body=b'{"choices": [{') if turn == 5 else judge(asked)

    server.behave = moody
    done = run(recipe, runs, quiet)
    verdicts = list(rows_of(done["verdicts_pairwise_one"].folder, Verdict))
    assert (len(verdicts), {v.says for v in verdicts}) == (8, {"A", "B"})
    (one, two) = done["report"].judged.models
    assert (one.pairs.wins, one.pairs.win_rate.mean) == (4, 1)
    assert two.is_baseline
    said = [talk.said for talk in rows_of(done["second_answers_one"].folder, Talk)]
    assert said == [("one 1", "one 3")] * 4  # the second time it read three messages
    rows = {row.stage: row for row in done["report"].teachers}
    assert sum(row.retries for row in rows.values()) > 0
    assert one.spent.output_tokens == 4 * 2 * 2


def test_a_judge_that_goes_away_ends_the_run_which_goes_on_from_there(
    server: ApiServer, recipe: Compare, runs: Folder, quiet: Progress
) -> None:
    before: list[Asked] = []

    def leaves(asked: Asked) -> Wire:
        if asked.body["model"] == "judge" and len(before) >= 60:
            return Wire(500)
        before.extend([asked] if asked.body["model"] == "judge" else [])
        return judge(asked)

    server.behave = leaves
    with pytest.raises(Unreachable, match=r"teachers\.judge: .* in a row unanswered"):
        run(recipe, runs, quiet)
    server.behave, server.asked = judge, []
    done = run(recipe, runs, quiet)
    prompts = [(a.prompt, a.body["seed"]) for a in server.asked if a.body["model"] == "judge"]
    answered = {(a.prompt, a.body["seed"]) for a in before}
    assert len(prompts) == len(set(prompts))
    assert not answered & set(prompts)
    assert done["judge_check"].manifest["facts"]["checked"]["agreement"] == 1


def test_a_refused_pair_costs_that_pair(server: ApiServer, recipe: Compare, runs: Folder, quiet: Progress) -> None:
    def refuses(asked: Asked) -> Wire:
        too_long = asked.body["model"] == "judge" and "Say 2." in asked.prompt
        return Wire(400, b"the prompt is too long") if too_long else judge(asked)

    server.behave = refuses
    done = run(recipe, runs, quiet)
    (one, _) = done["report"].judged.models
    assert (one.pairs.wins, one.pairs.unscored) == (3, 1)
    lost = list(dropped_of(done["verdicts_pairwise_one"].folder))
    assert [row.reason for row in lost] == ["request failed"] * 2
    assert "Say 2." in lost[0].text


def test_a_key_that_is_refused_is_the_users(server: ApiServer, recipe: Compare, runs: Folder, quiet: Progress) -> None:
    server.behave = lambda _: Wire(401, b"no")
    with pytest.raises(UserError, match=r"teachers\.judge: .* lets nobody in"):
        run(recipe, runs, quiet)
