"""Judges whose leanings are known, on real answers: what the report says of each, beside what is known.

    .venv/bin/python benchmarks/judge_biases.py MODEL [--questions 100] [--runs runs/judges]

MODEL, a folder, and the embedded model as the baseline answer the seed tasks' questions once. Judges behind an HTTP API
in this process then compare the answers, each by a rule that has nothing to do with how good they are; all know the
self-check's right answers, so that they are let in. The likelihood judge, which is real, is the last, and is let in
with any share of right verdicts above a half. Prints a Markdown table: what is expected of each rule, and what the
report tells.
"""

import argparse
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipelines.core.builtin import SEED_TASKS
from pipelines.judge import self_check
from pipelines.report.judged import Pairs
from pipelines.runs import api, reporting

BASELINE = "embedded:smollm2-135m-instruct"
ENGINE = "{dtype: bfloat16, max_model_len: 2048, max_num_seqs: 64, enforce_eager: true, kv_cache_gib: 1}"
ANSWERS = re.compile(r"<assistant [AB] (\w+)>\n(.*?)\n</assistant", re.DOTALL)
RIGHT = {pair.model_said[0] for pair in self_check.pairs() if pair.category == self_check.KNOWN}
Rule = Callable[[str, str], str]  # answers A and B -> the verdict's word


def chance(*texts: str) -> float:
    """From 0 to 1, always the same for these texts."""
    return int(hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8], 16) / 2**32


def coin(a: str, b: str) -> str:
    """One of the two answers, wherever it stands."""
    return "A" if (chance(min(a, b), max(a, b)) < 0.5) == (a < b) else "B"


def first(a: str, b: str) -> str:
    """In six pairs of ten, whatever stands first."""
    return "A" if chance("place", min(a, b), max(a, b)) < 0.6 else coin(a, b)


def longer(a: str, b: str) -> str:
    return "A" if len(a) > len(b) else "B"


def vague(a: str, b: str) -> str:
    """One reply in five says nothing."""
    return "both have merits" if chance("vague", a, b) < 0.2 else coin(a, b)


JUDGES: Mapping[str, tuple[Rule, str]] = {
    "coin": (coin, "win rate 50 %"),
    "first": (first, "first place 60 %"),
    "longer": (longer, "the longer one won 100 %"),
    "vague": (vague, "unscored 36 %"),
}


def main() -> None:
    args = _arguments()
    folder = Path(args.runs)
    folder.mkdir(parents=True, exist_ok=True)
    questions = folder / "questions.jsonl"
    asked = [json.loads(line)["instruction"] for line in SEED_TASKS.read_text(encoding="utf-8").splitlines()]
    questions.write_text("".join(json.dumps({"turns": [text]}) + "\n" for text in asked), encoding="utf-8")
    print("| judge | expected | win rate | length-controlled | longer: is, won | first, second place | unscored |")
    print("|---|---|---|---|---|---|---:|")
    with _Server() as url:
        for name, (_, expected) in JUDGES.items():
            teacher = f"{{kind: http, base_url: {url}, model: {name}, at_once: 8}}"
            _row(name, expected, _pairs(args, questions, [f"teachers.judge={teacher}", "judge.kinds=[pairwise]"]))
    likelihood = [
        "teachers.judge=" + _ours(BASELINE),
        "judge={kind: likelihood, teacher: judge, baseline: big, self_check: {agreement: 0.5}}",
    ]
    _row("likelihood", "-", _pairs(args, questions, likelihood))


def _pairs(args: argparse.Namespace, questions: Path, settings: list[str]) -> Pairs:
    recipe = api.load("compare", [
        f"questions={{path: {questions}, limit: {args.questions}}}", f"teachers.small={_ours(args.model)}",
        f"teachers.big={_ours(BASELINE)}", "answers.sampling={temperature: 0.7, max_tokens: 128}", *settings,
    ])  # fmt: skip
    ran = api.run(recipe, args.runs)
    judged = reporting.of_run(recipe, ran.run_folder, [each.stage for each in ran.stages]).judged
    assert judged is not None, "a comparison is judged"
    (pairs,) = [model.pairs for model in judged.models if model.pairs]
    return pairs


def _ours(model: str) -> str:
    return f"{{kind: vllm, model: {model}, engine: {ENGINE}}}"


def _row(name: str, expected: str, pairs: Pairs) -> None:
    rates = [
        f"{rate.mean:.0%} ({rate.low:.0%} to {rate.high:.0%})" if rate else "-"
        for rate in (pairs.win_rate, pairs.length_controlled)
    ]
    won = f"{pairs.longer_won:.0%}" if pairs.longer_won is not None else "-"
    scored = pairs.wins + pairs.ties + pairs.losses
    places = f"{pairs.first_place:.0%}, {pairs.second_place:.0%}"
    print(
        f"| {name} | {expected} | {' | '.join(rates)} | {pairs.longer:.0%}, {won} | {places} | "
        f"{pairs.unscored / (scored + pairs.unscored):.0%} |",
        flush=True,
    )


class _Server:
    """The judges, each a model of one API."""

    def __enter__(self) -> str:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()


class _Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = f"I weighed the two.\n[[{_verdict(body['model'], body['messages'][-1]['content'])}]]"
        message = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}  # nobody counts them here
        reply = json.dumps({"choices": [message], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        pass


def _verdict(judge: str, prompt: str) -> str:
    shown = [text for _, text in ANSWERS.findall(prompt)[-2:]]
    if len(set(shown)) < 2:  # the same twice, or a greeting
        return "tie"
    a, b = shown
    known = [text in RIGHT for text in (a, b)]
    return "AB"[known.index(True)] if any(known) else JUDGES[judge][0](a, b)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--runs", default="runs/judges")
    return parser.parse_args()


if __name__ == "__main__":
    main()
