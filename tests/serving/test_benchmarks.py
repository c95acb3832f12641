"""Benchmarks by the real harness, over an endpoint that plays vLLM: what is asked, kept, told, and refused.

No engine starts. Every way in which an endpoint can be wrong must end the run before a score is told.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, Asked, Wire
from fake_vllm import FakeVLLM, Fault
from pydantic import ValidationError

from pipelines.benchmark import harness, known_answers
from pipelines.benchmark import tasks as named_tasks
from pipelines.core import runner
from pipelines.core.chat import ChatTokenizer
from pipelines.core.errors import UserError
from pipelines.core.parts import rows_of
from pipelines.core.progress import Progress
from pipelines.core.recipe import Compare, recipe_of
from pipelines.core.records import BenchmarkAnswer
from pipelines.core.storage import Folder
from pipelines.recipes import compare
from pipelines.runs import asked, benchmarked_words, estimates, judged_export, reporting
from serving.faculty import ClusterFaculty

WORDS = ("bread", "river", "winter", "garden", "library", "bridge")
CHOICE = """\
task: small_choice
dataset_path: json
dataset_kwargs: {data_files: {test: choice.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
WRITE = """\
task: small_write
dataset_path: json
dataset_kwargs: {data_files: {test: write.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "Say {{word}}:"
doc_to_target: "{{word}}"
generation_kwargs: {until: ["!"], max_gen_toks: 16, do_sample: false}
filter_list:
  - {name: none, filter: [{function: remove_whitespace}, {function: take_first}]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with a multiple-choice task and one that is answered in writing, of six documents each."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    choices = [{"question": f"Find {w}:", "choices": ["the clock", w, "a letter"], "answer": 1} for w in WORDS]
    for name, text, rows in (
        ("choice", CHOICE, choices),
        ("write", WRITE, [{"word": word} for word in WORDS]),
    ):
        (folder / f"{name}.yaml").write_text(text)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def data(server: ApiServer, tiny_model_folder: Path, tasks: Path) -> dict[str, Any]:
    """Two models at one server, and the two tasks; tests change their own copy."""
    spec = {"kind": "http", "base_url": server.url, "api": "vllm", "tokenizer": str(tiny_model_folder), "at_once": 4}
    return {
        "name": "small",
        "method": "compare",
        "teachers": {name: {**spec, "model": name} for name in ("one", "two")},
        "answers": {"models": ["one", "two"]},
        "benchmarks": {
            "tasks": [str(tasks / "choice.yaml"), str(tasks / "write.yaml")],
            "baseline": "two",
            "bootstrap": {"resamples": 200},
        },
    }


def read(data: dict[str, Any]) -> Compare:
    recipe = recipe_of(data)
    assert isinstance(recipe, Compare)
    return recipe


@pytest.fixture
def fake(tokenizer: ChatTokenizer) -> Callable[..., FakeVLLM]:
    """A model that knows how plain texts go on, and what the test teaches it besides."""

    def make(fault: Fault, taught: Mapping[str, str]) -> FakeVLLM:
        plain = {text.context: text.right for text in known_answers.plain()}
        return FakeVLLM(tokenizer, {**plain, **taught}, fault)

    return make


class Run:
    """One recipe in one runs folder."""

    def __init__(self, data: dict[str, Any], runs: Folder) -> None:
        self.recipe, self.runs = read(data), runs
        self.stages = compare.stages(self.recipe, ClusterFaculty(self.recipe))
        self.folder = runs.child(runner.run_name(self.recipe.name, self.stages))

    def run(self, quiet: Progress) -> "Run":
        runner.run(self.stages, self.runs, self.folder, quiet)
        return self

    def rows(self, stage: str) -> list[BenchmarkAnswer]:
        found = next(self.runs.child(s.folder_name) for s in self.stages if s.name == stage)
        return list(rows_of(found, BenchmarkAnswer))

    def report(self) -> Any:
        return reporting.of_run(self.recipe, self.folder, self.stages)


@pytest.fixture
def clever(fake: Callable[..., FakeVLLM], server: ApiServer) -> Callable[..., FakeVLLM]:
    """Both models know all six choices and words, but `two` writes nothing that was asked for."""
    right = {f"Find {w}:": f" {w}" for w in WORDS}

    def make(fault: Fault = "none", only: int = len(WORDS)) -> FakeVLLM:
        written = {f"Say {w}:": f" {w}!" for w in WORDS[:only]}
        one, two = fake(fault, {**right, **written}), fake(fault, right)
        server.behave = lambda asked: (one if asked.body["model"] == "one" else two).behave(asked)
        return one

    return make


def test_a_whole_run(data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM]) -> None:
    clever()
    made = Run(data, runs)
    assert [s.name for s in made.stages] == [
        "benchmark_check_one", "benchmark_check_two", "benchmark_one", "benchmark_two",
    ]  # fmt: skip
    report = made.run(quiet).report()
    choice, write = report.benchmarked.measures
    assert (choice.name, write.name) == ("small_choice acc", "small_write exact_match")
    assert [(row.model, row.value, row.documents) for row in choice.models] == [("one", 1.0, 6), ("two", 1.0, 6)]
    assert [(row.model, row.value) for row in write.models] == [("one", 1.0), ("two", 0.0)]
    one, two = write.models
    assert (one.gained.interval.mean, one.gained.rows, two.gained) == (1.0, 6, None)
    row = next(r for r in made.rows("benchmark_one") if r.task == "small_write")
    assert (row.document, row.target, row.said, row.metrics, row.values) == (
        0, "bread", "bread", ("exact_match",), (1.0,),
    )  # fmt: skip
    row = next(r for r in made.rows("benchmark_two") if r.task == "small_choice")
    assert (row.target, row.said) == ("1", "1")
    assert {seen.check for seen in report.benchmarked.seen} >= {"tokens", "additive", "known answers", "stop"}
    assert report.teachers[0].prompt_tokens > 0


def test_scores_are_those_that_the_harness_makes_of_the_models_own_likelihoods(
    data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM], tasks: Path
) -> None:
    """A single text is scored: what the row says is its log-probability, as worked out beside the server."""
    model = clever()
    (tasks / "choice.yaml").write_text(CHOICE.replace("multiple_choice", "loglikelihood").replace(
        'doc_to_choice: "{{choices}}"\ndoc_to_target: "{{answer}}"', 'doc_to_target: " {{choices[2]}}"'
    ))  # fmt: skip
    made = Run(data, runs).run(quiet)
    row = next(r for r in made.rows("benchmark_one") if r.task == "small_choice")
    context, rest = model.tokenizer.encode("Find bread:"), model.tokenizer.encode(" a letter")
    ids = [*context, *rest]
    by_hand = sum(float(model.logprobs(ids[:n])[ids[n]]) for n in range(len(context), len(ids)))
    assert float(row.said) == pytest.approx(by_hand, abs=1e-3)


def test_nothing_is_asked_twice(
    data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM], server: ApiServer
) -> None:
    clever()
    Run(data, runs).run(quiet)
    server.asked.clear()
    Run(data, runs).run(quiet)
    data["benchmarks"] |= {"limit": 4, "bootstrap": {"resamples": 100}}
    fewer = Run(data, runs).run(quiet)
    assert len(fewer.rows("benchmark_one")) == 8
    assert server.asked == []


def test_a_run_that_is_killed_goes_on_where_it_was(
    data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM], server: ApiServer
) -> None:
    clever()
    good, scored = server.behave, list[Asked]()

    def dies(asked: Asked) -> Wire:
        if asked.body["model"] == "two" and asked.body.get("prompt_logprobs") and "Find" in shown(asked):
            scored.append(asked)
            if len(scored) > 10:
                return Wire(401)
        return good(asked)

    def shown(asked: Asked) -> str:
        return ChatTokenizer(data["teachers"]["one"]["tokenizer"]).decode(asked.prompt)

    server.behave = dies
    with pytest.raises(UserError, match="lets nobody in"):
        Run(data, runs).run(quiet)
    server.behave = good
    server.asked.clear()
    made = Run(data, runs).run(quiet)
    again = [tuple(a.prompt) for a in server.asked if a.body.get("prompt_logprobs")]
    assert 0 < len(again) < 18
    assert len(made.rows("benchmark_two")) == 12


def test_a_refused_request_ends_the_benchmark_in_words(
    data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM], server: ApiServer
) -> None:
    clever()
    good = server.behave

    def refuses(asked: Asked) -> Wire:
        too_long = not isinstance(asked.prompt, str) and asked.body.get("stop") == ["!"]
        return Wire(400, b"too long") if too_long else good(asked)

    server.behave = refuses
    with pytest.raises(UserError, match=r"small_write: 6 of 6 requests to one failed.*too long"):
        Run(data, runs).run(quiet)


FAULTS: dict[Fault, str] = {
    "adds a bos": "the server adds tokens of its own|of '.*' the endpoint makes",
    "other ids": "tokens: of '.*' the endpoint makes",
    "shifted": "known answers|greedy",
    "positive": "log-probabilities: .* is no log-probability",
    "always greedy": "greedy: ",
    "never greedy": "greedy: ",
    "no stop": "stop: asked to stop before",
    "no end": "max_tokens is not kept",
    "other template": "chat template: ",
    "marks": "reply: a reply holds",
    "untaught": "known answers: only",
    "no logprobs": "no prompt_logprobs",
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.items(), ids=FAULTS)
def test_an_endpoint_that_is_wrong_is_told_before_any_score(
    data: dict[str, Any],
    runs: Folder,
    quiet: Progress,
    clever: Callable[..., FakeVLLM],
    fault: Fault,
    words: str,
) -> None:
    clever(fault)
    data["benchmarks"]["chat_template"] = True
    made = Run(data, runs)
    with pytest.raises(UserError, match=rf"benchmarks: the endpoint of 'one' (?s:.*)({words})"):
        made.run(quiet)
    assert made.report().benchmarked.measures == ()
    # Once it is mended, the same run goes on.
    clever()
    assert len(made.run(quiet).report().benchmarked.measures) == 2


def test_written_tasks_are_put_as_turns_and_scored_ones_are_not(
    data: dict[str, Any], runs: Folder, quiet: Progress, clever: Callable[..., FakeVLLM], server: ApiServer
) -> None:
    model = clever()
    data["benchmarks"]["chat_template"] = True
    Run(data, runs).run(quiet)
    prompts = [model.tokenizer.decode_whole(a.prompt) for a in server.asked if isinstance(a.prompt[0], int)]
    assert model.tokenizer.render([{"role": "user", "content": "Say bread:"}], for_answer=True) in prompts
    assert any(prompt.startswith("Find bread:") for prompt in prompts)


def test_what_is_no_task_is_told_in_words(data: dict[str, Any], tasks: Path) -> None:
    def load() -> None:
        config = read(data).benchmarks
        assert config is not None
        harness.load(config, 17)

    load()
    data["benchmarks"]["tasks"] = [str(tasks)]
    load()
    (tasks / "choice.jsonl").unlink()
    with pytest.raises(UserError, match=r"benchmarks\.tasks: .*cannot be loaded"):
        load()
    data["benchmarks"]["tasks"] = [str(tasks / "nothing.yaml")]
    with pytest.raises(UserError, match="neither a task's YAML file nor a folder"):
        load()


def test_what_a_recipe_must_say(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"benchmarks": None}, "with `judge`, with `benchmarks`, or with both"),
        ({"benchmarks": {**data["benchmarks"], "baseline": "three"}}, "benchmarks.baseline names 'three'"),
        ({"benchmarks": {"tasks": ["a", "a"]}}, "a task is named twice"),
    ]
    for change, words in bad:
        with pytest.raises(ValidationError, match=words):
            read({**data, **change})
    data["teachers"]["one"] = {"kind": "http", "base_url": "http://127.0.0.1:1/v1", "model": "one"}
    with pytest.raises(ValidationError, match="benchmarks need log-likelihoods of given tokens"):
        read(data)


def test_without_the_harness_it_is_said_what_to_install(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read(data)
    monkeypatch.setattr(named_tasks, "PACKAGE", "no-such-package")
    with pytest.raises(UserError, match=r"pip install 'tutelage\[bench\]'"):
        compare.stages(recipe, ClusterFaculty(recipe))


def test_a_local_task_is_what_lies_in_its_folder(data: dict[str, Any], tasks: Path) -> None:
    before = named_tasks.content_key(data["benchmarks"]["tasks"][0])
    (tasks / "__pycache__").mkdir()
    (tasks / "__pycache__" / "utils.pyc").write_bytes(b"made by an import")
    assert named_tasks.content_key(data["benchmarks"]["tasks"][0]) == before
    (tasks / "choice.jsonl").write_text("")
    assert named_tasks.content_key(data["benchmarks"]["tasks"][0]) != before


def test_ours_can_be_loaded(data: dict[str, Any]) -> None:
    data["benchmarks"]["tasks"] = ["builtin"]
    config = read(data).benchmarks
    assert config is not None
    assert set(harness.load(config, 17)) == set(benchmarked_words.OWN)


def test_endpoints_are_checked_before_the_judge_and_measured_after_all_else(data: dict[str, Any]) -> None:
    data["judge"] = {"teacher": "one", "kinds": ["single"]}
    recipe = read(data)
    names = [stage.name for stage in compare.stages(recipe, ClusterFaculty(recipe))]
    assert names[:4] == ["benchmark_check_one", "benchmark_check_two", "judge_check_single", "judge_fit"]
    assert names[-2:] == ["benchmark_one", "benchmark_two"]
    assert len(estimates.in_words(recipe, 32)) == 4  # answers of two models, numbers, benchmarks


def test_without_a_judge_nobody_answers(data: dict[str, Any]) -> None:
    recipe = read(data)
    (line,) = estimates.in_words(recipe, 0)
    assert line.startswith("benchmarks: ")
    assert list(asked.of_engines(recipe)) == []
    with pytest.raises(UserError, match="none to export"):
        judged_export.taken(recipe, "run", {})


def test_what_the_harness_says_goes_to_its_file_and_not_to_the_terminal(
    runs: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """caplog stands for the handler for everything that a started Ray has."""
    caplog.set_level(logging.WARNING, "lm_eval")  # its handler is one for all tests, and a session quiets handlers
    log = logging.getLogger("lm_eval.evaluator")
    with harness.quiet(runs):
        log.warning("Building contexts")
    assert caplog.records == []
    assert runs.read_bytes(harness.LOG) == b"Building contexts\n"
    log.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]
