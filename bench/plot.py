"""The plot: ratios to the commands' times, and the time of a scan by the size of an SR; SVG without a library.

Two panels of bars and lines do not need a library, which would be much larger than the whole bench.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _ROW, _TOP = 860, 230, 24, 46
_OURS, _THEIRS, _GOAL, _GRID, _TEXT = "#2166ac", "#b2182b", "#444444", "#dddddd", "#222222"


@dataclass(frozen=True)
class Bar:
    """An operation: the ratio of the reference's time to ours, and the goal."""

    name: str
    ratio: float
    goal: float | None


@dataclass(frozen=True)
class Line:
    """Seconds by number of VDIs."""

    name: str
    colour: str
    seconds: Mapping[int, float]


def plot(bars: Sequence[Bar], ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    """The whole plot."""
    top, height = _ratios(bars)
    bottom, more = _scans([Line("smblock", _OURS, ours), Line("rbd ls -l", _THEIRS, theirs)], height)
    size = f'width="{_WIDTH}" height="{height + more}" viewBox="0 0 {_WIDTH} {height + more}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *top, *bottom, "</svg>"]) + "\n"


def _ratios(bars: Sequence[Bar]) -> tuple[list[str], float]:
    decades = math.ceil(math.log10(max(max(bar.ratio, bar.goal or 1) for bar in bars)))

    def x(ratio: float) -> float:
        return _LABELS + (_WIDTH - _LABELS - 60) * math.log10(max(ratio, 1)) / decades

    bottom = _TOP + _ROW * len(bars)
    drawn = [_text(10, 22, "How many times quicker than rbd and ceph (line: the goal)", size=15)]
    for power in range(decades + 1):
        drawn += [
            _line(x(10**power), _TOP, x(10**power), bottom, _GRID),
            _text(x(10**power), bottom + 15, f"{10**power:,}", "middle"),
        ]
    for row, bar in enumerate(bars):
        y = _TOP + _ROW * row
        drawn += [
            _text(_LABELS - 8, y + 16, bar.name, "end"),
            f'<rect x="{_LABELS}" y="{y + 4}" width="{x(bar.ratio) - _LABELS:.1f}" height="15" fill="{_OURS}"/>',
            _text(x(bar.ratio) + 6, y + 16, f"{bar.ratio:.3g}"),
        ]
        if bar.goal is not None:
            drawn.append(_line(x(bar.goal), y + 1, x(bar.goal), y + 22, _GOAL, width=2.5))
    return drawn, bottom + 30


def _scans(lines: Sequence[Line], above: float) -> tuple[list[str], float]:
    numbers = sorted(lines[0].seconds)
    values = [seconds for line in lines for seconds in line.seconds.values()]
    low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
    top, bottom = above + 40, above + 260

    def x(number: float) -> float:
        return _LABELS + (_WIDTH - _LABELS - 100) * math.log10(number / numbers[0]) / math.log10(
            numbers[-1] / numbers[0]
        )

    def y(seconds: float) -> float:
        return bottom - (bottom - top) * (math.log10(seconds) - low) / (high - low)

    drawn = [_text(10, above + 20, "Seconds to list an SR, by its number of VDIs", size=15)]
    for power in range(low, high + 1):
        drawn += [
            _line(_LABELS, y(10**power), _WIDTH - 100, y(10**power), _GRID),
            _text(_LABELS - 8, y(10**power) + 4, f"{10**power:g}", "end"),
        ]
    drawn += [_text(x(number), bottom + 16, f"{number:,}", "middle") for number in numbers]
    for line in lines:
        points = [(x(number), y(line.seconds[number])) for number in numbers]
        path = " ".join(f"{left:.1f},{height:.1f}" for left, height in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{left:.1f}" cy="{at:.1f}" r="3.5" fill="{line.colour}"/>' for left, at in points]
        drawn.append(_text(points[-1][0] + 10, points[-1][1] + 4, line.name, colour=line.colour))
    return drawn, 290


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = _TEXT) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {where}>{escape(text)}</text>"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, *, width: float = 1) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'
