"""The table that ends a run in the terminal, from its report.

Knows how figures are laid out in a fixed width. Where they come from is in `reporting`.
"""

from pipelines.report import data, words
from pipelines.runs import benchmarked_words, judged_words


def summary(report: data.Report) -> str:
    """The table that ends a run in the terminal."""
    lines = [""]
    wide = max([24, *(len(score.model) + 2 for score in report.scores)])
    if report.compares:
        lines += judged_words.table(report.judged) if report.judged else []
        lines += benchmarked_words.table(report.benchmarked) if report.benchmarked else []
    elif report.choices:
        lines.append(f"  {'':<24}{'accuracy, likeliest':>24}{'accuracy, written':>24}{'size':>9}")
    elif report.trains:
        lines.append(f"  {'':<{wide}}{'nats/token':>22}{'ROUGE-L':>10}{'repeated':>10}{'size':>9}")
    else:
        lines += [f"  {step.label:<16}{step.kept:>10,} rows{_drop_words(step)}" for step in report.funnel]
        lines += [f"  {card.label:<16}{card.value:>10}  {card.detail}" for card in report.headline]
    for choice in report.choices:
        likeliest, written = (_share(i) if i else "-" for i in (choice.likeliest, choice.written))
        size = "-" if choice.parameters is None else f"{choice.parameters / 1e6:,.0f} M"
        lines.append(f"  {choice.model:<24}{likeliest:>24}{written:>24}{size:>9}")
    for s in report.scores:
        nll = f"{s.nll.mean:.3f} ({s.nll.low:.3f}-{s.nll.high:.3f})" if s.nll else "-"
        rouge_l = f"{s.rouge_l.mean:.3f}" if s.rouge_l else "-"
        repeated = "-" if s.repeated_3grams is None else f"{s.repeated_3grams:.1%}"
        size = "-" if s.parameters is None else f"{s.parameters / 1e6:,.0f} M"
        lines.append(f"  {s.model:<{wide}}{nll:>22}{rouge_l:>10}{repeated:>10}{size:>9}")
    if report.gap_closed is not None:
        prompts = f"{sum(s.rows for s in report.scores if s.model.startswith('student before'))} held-out prompts"
        lines.append(f"\n  the student closed {report.gap_closed:.0%} of its loss gap to the teacher on {prompts}")
    lines += [f"  round {r.round}: {_round_words(r)}" for r in report.rounds]
    lines += [f"  round {r.round}: {_influence_words(r)}" for r in report.influence]
    lines += [f"  {gain}" for gain in words.gains(report.taught)]
    took = [s for s in report.stages if s.status == "done" and s.seconds >= 1]
    if took:
        lines.append("  time: " + ", ".join(f"{s.name} {s.seconds:.0f} s" for s in took))
    return "\n".join(lines)


def _share(interval: data.Interval) -> str:
    return f"{interval.mean:.1%} ({interval.low:.1%}-{interval.high:.1%})"


def _round_words(round: data.RoundRow) -> str:
    said = f"{round.answers:,} own answers of {round.tokens_per_answer:.0f} tokens, {round.cut_off:.0%} cut off"
    apart = "" if round.kd is None else f"; {round.kd:.3f} nats per token from the teacher"
    return f"{said}, {round.repeated_3grams:.1%} repeated{apart}"


def _influence_words(round: data.InfluenceRound) -> str:
    said = f"{round.rows:,} rows probed, {round.helped:.0%} helped"
    preferred = f"; {round.preferred.pairs:,} preferences" if round.preferred else ""
    learnt = f", their loss {round.dpo[0]:.3f} when tuning began and {round.dpo[1]:.3f} at its end" if round.dpo else ""
    return f"{said}{preferred}{learnt}"


def _drop_words(step: data.FunnelRow) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in step.dropped.items())
    return f", dropped: {reasons}" if reasons else ""
