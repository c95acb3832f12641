"""What is told of a comparison: its report, its answers by export, and question by question."""

import json
from pathlib import Path
from typing import Any

import pytest
from comparing import FIT, Run, answering, of_eight, panel, read
from panel import Panel

from pipelines.core import recipe_file
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.storage import Folder
from pipelines.formats import write
from pipelines.report.markdown import markdown
from pipelines.runs import browsing, export, judged_export, lineage, terminal


@pytest.fixture
def data(model: Path, tmp_path: Path) -> dict[str, Any]:
    return of_eight(model, tmp_path)


def test_the_report_tells_it_all(data: dict[str, Any], runs: Folder, quiet: Progress) -> None:
    data["teachers"]["small"] |= {"price": {"prompt_per_million": 1, "output_per_million": 10}}
    made = Run(read(data), panel(), runs).run(quiet)
    report = made.report()
    text = markdown(report)
    for words in (
        "| Model | Win rate ↑ | Length-controlled ↑ |",
        "| big (the baseline) | – | – |",
        "| pairwise | 128 | 100 % |",
        "### small won against big (even)",
        "### small lost against big (odd)",
        "Each pair is judged in both orders",
        "A fake teacher took part",
        "| even | 62 % of 4 |",
    ):
        assert words in text, words
    assert "Some rows of the data" not in text
    # 8 first turns of 2 words and a second turn of 7 are read, 18 words written: (23 + 180) / 1e6 for 9 answers.
    cost = made.model("small").spent.cost_per_thousand
    assert cost == pytest.approx(1000 * (8 * 2 + 7 + 18 * 10) / 1e6 / 9)
    assert made.model("big").spent.cost_per_thousand is None
    assert [row.label for row in report.funnel][:2] == ["questions", "answers_small"]
    assert report.headline[0].value == "56%"
    summary = terminal.summary(report)
    assert "length-controlled" in summary
    assert "big *" in summary
    won = next(each for each in made.judged().judgements if each.result == "win")
    lines = lineage.trace(won.verdict_id, runs.uri)
    assert [line.split()[0] for line in lines[:3]] == ["verdict", "talk", "openquestion"]
    assert sum(line.split()[0] == "completion" for line in lines) >= 3


def test_several_models_are_compared_and_the_report_says_how_many(
    data: dict[str, Any], runs: Folder, quiet: Progress
) -> None:
    data["teachers"]["third"] = data["teachers"]["big"]
    data["answers"]["models"] = ["small", "big", "third"]
    members = Panel({**panel().says, "third": answering(range(8))})
    made = Run(read(data), members, runs).run(quiet)
    assert made.model("third").pairs.win_rate.mean > made.model("small").pairs.win_rate.mean  # type: ignore[union-attr]
    (told,) = (note for note in made.report().notes if "models are compared" in note)
    assert "2 models are compared with big" in told
    assert "up to 10%" in told
    assert "97.5%" in told


def test_a_stage_that_is_not_there_yet_is_no_trouble_for_the_report(data: dict[str, Any], runs: Folder) -> None:
    made = Run(read(data), panel(), runs)
    assert made.judged().models == ()
    assert "Not yet." in markdown(made.report())


def test_every_models_answers_leave_by_export(
    data: dict[str, Any], runs: Folder, quiet: Progress, tmp_path: Path
) -> None:
    made = Run(read(data), panel(), runs)
    done = {f.stage.name: f.done for f in made.run(quiet).finished}
    provenance, rows, conversations = judged_export.taken(made.recipe, "run", done)
    found = list(conversations)
    assert rows == len(found) == 16
    assert [step.rows for step in provenance.steps] == [8, 8]
    assert found[3].turns == ("Say 3.", "POOR 3", "And once more.", "POOR 3")
    beside = json.loads(found[3].extra)
    assert (beside["model"], beside["scores"]) == ("small", {"1": 3.0, "2": 3.0})
    assert lineage.trace(beside["talk_id"], runs.uri)[0].startswith("talk ")
    write.export(iter(found), "messages", str(tmp_path / "out.jsonl"), "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 16
    del done["second_answers_big"]
    with pytest.raises(UserError, match="no finished answers of big yet"):
        judged_export.taken(made.recipe, "run", done)


def test_a_run_that_has_not_answered_has_nothing_to_export(data: dict[str, Any], runs: Folder, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(recipe_file.dump(read(data)))
    with pytest.raises(UserError, match="no finished answers of small, big yet"):
        export.export(str(file), "messages", str(tmp_path / "out.jsonl"), runs.uri)


def test_a_comparison_can_be_read_question_by_question(data: dict[str, Any], runs: Folder, quiet: Progress) -> None:
    made = Run(read(data), panel(), runs).run(quiet)
    rows, about = browsing.of_run(made.recipe, made.done())
    assert "what the judge said" in about
    by_prompt = {row.prompt: row for row in rows}
    assert len(by_prompt) == 8
    won, lost = by_prompt["Say 0."], by_prompt["Say 3.\n\nAnd once more."]
    assert (won.category, won.reference) == ("even", "")
    assert [(each.model, each.text) for each in won.answers] == [("small", "GOOD 0"), ("big", "POOR 0")]
    pair, of_small, of_big = won.judgements
    assert (pair.model, pair.baseline, pair.result) == ("small", "big", "win")
    assert [(reply.order, reply.says) for reply in pair.replies] == [
        ("small first", "small is better"),
        ("big first", "small is better"),
    ]
    assert {reply.text for reply in pair.replies} == {"Weighed.\n[[A]]", "Weighed.\n[[B]]"}
    assert (of_small.result, [reply.says for reply in of_small.replies]) == ("number", ["8 of 10"])
    assert (of_big.model, [reply.order for reply in of_big.replies]) == ("big", ["turn 1"])
    assert (lost.reference, lost.judgements[0].result) == ("3\n\n3 again", "loss")
    assert [reply.order for reply in lost.judgements[1].replies] == ["turn 1", "turn 2"]
    assert by_prompt["Say 5."].judgements[0].result == "tie"


def test_replies_without_a_verdict_are_told_as_such(data: dict[str, Any], runs: Folder, quiet: Progress) -> None:
    def mute(request: Any) -> str:
        return FIT(request) if "GOOD" not in request.prompt and "POOR" not in request.prompt else "Hm."

    made = Run(read(data), panel(mute), runs).run(quiet)
    rows, _ = browsing.of_run(made.recipe, made.done())
    pair, number, _ = rows[0].judgements
    assert (pair.result, pair.replies[0].says, pair.replies[0].text) == ("unscored", "no verdict", "Hm.")
    assert number.replies[0].says == "no number"
