"""A report with every part filled, hostile words among the model's, and one of a run that stopped half way.

Knows only the report's dataclasses; the figures are made up.
"""

import math

import pytest

from pipelines.report.data import (
    DataRow,
    DroppedRow,
    Engines,
    FunnelRow,
    Headline,
    Interval,
    LossPoint,
    ModelScore,
    Report,
    Sample,
    StageRow,
    TeacherRow,
)

HOSTILE = '<script>console.error("ran")</script> & <img src="http://leak.invalid/x.png"> | a\n```\n# not a heading'

_STAGES = (
    StageRow("seeds", "1f0c9a7be2d4", "cached", 175, 0, 0, 0, 0.4, 0.0),
    StageRow("instructions", "8a55e01c93bf", "done", 1_204, 326, 412_880, 131_022, 212.0, 31.5),
    StageRow("answers", "c02d7716ab40", "done", 1_151, 53, 98_310, 204_775, 341.7, 30.2),
    StageRow("examples", "5be8d4f0a611", "done", 1_151, 0, 0, 0, 6.1, 0.0),
    StageRow("soft_targets", "e97a30c5f218", "done", 1_151, 0, 301_440, 1_151, 96.3, 29.8),
    StageRow("student", "0d46b8e17c5a", "done", 1, 0, 0, 0, 468.0, 22.0),
    StageRow("evaluate", "77c1f9d2e034", "done", 192, 0, 24_512, 40_118, 143.9, 58.4),
)
_TEACHERS = (
    TeacherRow("big", "instructions", 1_204, 412_880, 131_022, 3, 812.0, 452, 0.674, 0.00249, 1.5, 0.00125),
    TeacherRow(
        "main", "answers", 1_151, 98_310, 204_775, 0, 9_208.0, 263, 8.0, 0.0, None, None,
        Engines(starting=60.4, busy=588.0, idle=35.0, busy_per_row=0.511, idle_per_row=0.0304),
    ),
)  # fmt: skip
_FUNNEL = (
    FunnelRow("seeds", 175, {}),
    FunnelRow(
        "instructions",
        1_204,
        {"too similar": 214, "too short": 71, "starts oddly": 33, "mentions an image": 8},
    ),
    FunnelRow("answers", 1_151, {"cut off": 41, "empty": 12}),
    FunnelRow("examples", 1_151, {}),
)
_SCORES = (
    ModelScore(
        "student before",
        Interval(2.914, 2.802, 3.026),
        Interval(0.142, 0.121, 0.163),
        0.41,
        30_250_000,
        64,
        6_128,
    ),
    ModelScore("student", Interval(2.221, 2.130, 2.312), Interval(0.203, 0.178, 0.228), 0.082, 30_250_000, 64, 6_128),
    ModelScore("teacher", Interval(1.796, 1.712, 1.880), Interval(0.251, 0.222, 0.280), 0.031, 134_515_008, 64, 6_128),
)


def _sample(number: int, instruction: str, given: str, reference: str) -> Sample:
    answers = {
        "student before": "The the answer is the answer is the answer is the answer is the answer.",
        "student": "Oceans store heat, so coastal cities stay milder than places far inland.",
        "teacher": "Because water warms and cools slowly, the sea evens out the temperature of the coast:\n\n"
        "1. Sea breezes cool the day.\n2. Warm water heats the night.",
    }
    return Sample(f"held{number:08x}", instruction, given, reference, answers)


def _loss(step: int) -> LossPoint:
    wobble = 0.09 * math.sin(step * 1.7) * math.exp(-step / 300)
    losses = {
        "answer": 1.55 + 1.6 * math.exp(-step / 60) + wobble,
        "kd": 0.62 + 1.1 * math.exp(-step / 45) + wobble / 2,
    }
    return LossPoint(step, 1_638 * step, losses, 2e-4 * min(1.0, step / 20, (310 - step) / 240))


@pytest.fixture
def hostile() -> str:
    """What a model might say to break out of its place; it stands among the report's samples."""
    return HOSTILE


@pytest.fixture
def report() -> Report:
    samples = (
        _sample(1, "Why do coastal cities have milder weather than cities inland?", "", "The sea stores heat."),
        _sample(2, "Rewrite the sentence in the passive voice.", "The committee approved the plan.", ""),
        Sample("held00000003", "Say it as code. " + HOSTILE, "", "", {"student": HOSTILE, "teacher": ""}),
        _sample(4, "Name three uses of a paper clip.", "", "Bookmark, reset pin, zip pull."),
        _sample(5, "Explain what a hash function does to someone who has never programmed.", "", ""),
    )
    return Report(
        recipe="alpaca",
        run_key="4c1d09be77aa",
        runs_uri="s3://models/runs",
        status="done",
        command="tutelage run alpaca --set teacher.model=smollm2-135m --set target=1200",
        started="2026-11-20T23:34:05+00:00",
        seconds=1_268.4,
        recipe_yaml="name: alpaca\nteacher:\n  model: smollm2-135m  # <a comment>\ntarget: 1200\n",
        headline=(
            Headline("Rows trained on", "1,151", "of 1,530 the teacher wrote"),
            Headline("Student", "30 M", "parameters, a quarter of the teacher's"),
            Headline("Tokens bought", "378 k", "output, by one teacher"),
            Headline("Time", "21 min", "on 2 CPU cores"),
        ),
        stages=_STAGES,
        teachers=_TEACHERS,
        funnel=_FUNNEL,
        loss_curve=tuple(_loss(step) for step in range(1, 301)),
        scores=_SCORES,
        gap_closed=0.62,
        samples=samples,
        examples=(
            DataRow("9d1e", "List five facts about otters.", "", "1. They hold hands.", ("ab12", "cd34")),
            DataRow("77f0", HOSTILE, "given", HOSTILE, ()),
        ),
        dropped=(
            DroppedRow("instructions", "too short", "Go.", "1 word; at least 4 are needed"),
            DroppedRow(
                "instructions",
                "too similar",
                "Write a poem about rain.",
                "ROUGE-L 0.83 to 'Write a poem on rain.'",
            ),
            DroppedRow("answers", "cut off", HOSTILE, "512 tokens reached"),
        ),
        versions={
            "tutelage": "0.1.0",
            "ray": "2.60.0",
            "vllm": "0.29.0",
            "torch": "2.13.0+cpu",
            "python": "3.11.9",
        },
        notes=("One seed of each sampling: the intervals tell of the tasks, not of a second training.",),
    )


@pytest.fixture
def stopped() -> Report:
    """Half way: the instructions are half written, nothing has been trained."""
    return Report(
        recipe="alpaca",
        run_key="4c1d09be77aa",
        runs_uri="runs",
        status="stopped",
        command="tutelage run alpaca",
        started="2026-11-20T23:34:05+00:00",
        seconds=62.0,
        recipe_yaml="name: alpaca\n",
        stages=(
            _STAGES[0],
            StageRow("instructions", "8a55e01c93bf", "partial", 310, 96, 101_000, 33_410, 61.0, 31.5),
            StageRow("answers", "", "pending", 0, 0, 0, 0, 0.0, 0.0),
            StageRow("student", "", "pending", 0, 0, 0, 0, 0.0, 0.0),
        ),
        funnel=(FunnelRow("seeds", 175, {}), FunnelRow("instructions", 310, {"too similar": 96})),
    )
