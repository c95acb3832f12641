"""The report's charts as inline SVG. Pure functions of values.

Knows no HTML page: every chart carries its own title, description and sizes, and takes colours from CSS variables with
defaults that stand alone. A shape or a dash says again what a colour says.
"""

from pipelines.report.charts.categories import category_bars
from pipelines.report.charts.funnel import funnel
from pipelines.report.charts.intervals import interval_dots, spreads
from pipelines.report.charts.loss import MOST_POINTS, loss_curve
from pipelines.report.charts.timeline import timeline

__all__ = ["MOST_POINTS", "category_bars", "funnel", "interval_dots", "loss_curve", "spreads", "timeline"]
