"""Figures: one JSON line each, a table and bars at the end."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import attrs

from benchmarks._load import Sample

Series = dict[str, list[Sample]]
"""Samples by target, one per round, in step."""


@attrs.frozen(kw_only=True)
class Figure:
    """One measured value.

    Attributes:
        bar: what the product must reach; ``None``: reported only.
        better: which side of the bar is good.
        note: how it came about, in a few words.
    """

    name: str
    value: float
    unit: str = "x"
    bar: float | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; ``None`` without a bar."""
        if self.bar is None:
            return None
        return (
            self.value >= self.bar if self.better == "more" else self.value <= self.bar
        )

    def line(self) -> str:
        """This figure as one JSON line."""
        return json.dumps(
            attrs.asdict(self)
            | {"value": round(self.value, 4), "reached": self.reached}
        )


def ratio(
    series: Series, target: str, floor: str, of: Callable[[Sample], float]
) -> float:
    """The median of the per-round ratios of two targets."""
    pairs = zip(series[target], series[floor], strict=True)
    return statistics.median(of(mine) / of(base) for mine, base in pairs)


def median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """The median of one value over the rounds."""
    return statistics.median(of(sample) for sample in samples)


def number(value: float) -> str:
    """Three significant digits, thousands in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _verdict(figure: Figure) -> str:
    return {None: "", True: "reached", False: "MISSED"}[figure.reached]


def table(figures: Iterable[Figure]) -> str:
    """All figures as a Markdown table."""
    rows = ["| figure | value | bar | | how |", "|---|---:|---:|---|---|"]
    for figure in figures:
        sign = ">=" if figure.better == "more" else "<="
        bar = "" if figure.bar is None else f"{sign} {figure.bar:g}"
        value = f"{number(figure.value)} {figure.unit}"
        rows.append(
            f"| {figure.name} | {value} | {bar} | {_verdict(figure)} | {figure.note} |"
        )
    return "\n".join(rows)


def plot(figures: Iterable[Figure], path: Path) -> None:
    """Write bars of all figures that have a bar: 100% is the bar, more is better."""
    rows = [figure for figure in figures if figure.bar]
    step, left, unit = 24, 330, 150  # pixels; unit: width of 100%
    height = step * len(rows) + 40
    bar_at, bottom = left + unit, height - 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="960" height="{height}">',
        "<style>text { font: 12px sans-serif } line { stroke: black }</style>",
        f'<line x1="{bar_at}" y1="20" x2="{bar_at}" y2="{bottom}"/>',
        f'<text x="{bar_at}" y="14" text-anchor="middle">bar</text>',
    ]
    for place, figure in enumerate(rows):
        assert figure.bar is not None
        share = figure.value / figure.bar
        share = share if figure.better == "more" else 1 / max(share, 1e-6)
        width = min(share, 3.5) * unit
        y = 24 + place * step
        colour = "#4a8" if figure.reached else "#c54"
        label = figure.name.replace("&", "&amp;").replace("<", "&lt;")
        value = f"{number(figure.value)} {figure.unit}"
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{label}</text>',
            f'<rect x="{left}" y="{y}" width="{width:.0f}" height="16" fill="{colour}"/>',
            f'<text x="{left + width + 6:.0f}" y="{y + 13}">{value}</text>',
        ]
    path.write_text("\n".join([*parts, "</svg>\n"]))
