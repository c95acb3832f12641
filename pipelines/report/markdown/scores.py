"""Models' figures on held-out rows or questions, and their answers side by side."""

from collections.abc import Sequence

from pipelines.report.data import ChoiceScore, Report, Sample, Taught
from pipelines.report.markdown.pieces import escaped, fenced, part, table
from pipelines.report.words import count, difference, gap_words, interval, percent


def student(report: Report) -> list[str]:
    return [
        *_result(report),
        *(part("Answers side by side", [_sample(sample) for sample in report.samples]) if report.asks else []),
    ]


def _result(report: Report) -> list[str]:
    if report.choices:
        return part("Accuracy", _choices(report.choices))
    title = "Students of each teacher" if report.taught else "Before, after, teacher"
    return part(title, [*_scores(report), *_taught(report.taught)])


def _scores(report: Report) -> list[str]:
    gap = gap_words(report.gap_closed)
    told = [f"**{percent(abs(report.gap_closed))}** {gap}"] if gap and report.gap_closed is not None else []
    head = (
        "Model",
        "Parameters",
        "Nats per token ↓",
        "ROUGE-L ↑",
        "Repeated 3-grams ↓",
        "Tasks",
        "Tokens scored",
    )
    rows = (
        (
            s.model,
            "–" if s.parameters is None else count(s.parameters),
            interval(s.nll) if s.nll else "–",
            interval(s.rouge_l),
            "–" if s.repeated_3grams is None else percent(s.repeated_3grams),
            count(s.rows),
            count(s.tokens),
        )
        for s in report.scores
    )
    return told + table(head, rows, "lrrrrrr")


def _taught(taught: Sequence[Taught]) -> list[str]:
    head = ("Teacher", "Students", "Rows each", "Tokens each", "Nats per held-out token ↓", "Difference ↓")
    rows = (
        (t.teacher, count(t.students), count(t.rows), count(t.tokens), interval(t.loss), difference(t.gained))
        for t in taught
    )
    return table(head, rows, "lrrrrr")


def _choices(scores: Sequence[ChoiceScore]) -> list[str]:
    head = ("Model", "Parameters", "Accuracy, likeliest choice ↑", "Accuracy, written word for word ↑", "Questions")
    rows = (
        (
            s.model,
            "–" if s.parameters is None else count(s.parameters),
            interval(s.likeliest),
            interval(s.written) if s.written else "–",
            count(s.questions),
        )
        for s in scores
    )
    return table(head, rows, "lrrrr")


def _sample(sample: Sample) -> str:
    said = {
        "task": sample.instruction,
        "input": sample.input,
        **sample.answers,
        "reference": sample.reference,
    }
    shown = [f"**{escaped(who)}**\n\n{fenced(text)}" for who, text in said.items() if text or who in sample.answers]
    return "\n\n".join([f"### Task {escaped(sample.instruction_id)}", *shown])
