"""The plot: the time of each operation, and of a scan by the size of an SR; SVG without a library.

Two panels of bars and lines do not need a library, which would be much larger than the whole bench.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _RIGHT, _ROW, _BAR, _TOP = 860, 260, 70, 34, 9, 70
_GRID, _TEXT = "#dddddd", "#222222"
RIVAL, OURS, LIMIT = "rbd and ceph", "smblock", "limit: the same calls, bare"
_COLOURS = {RIVAL: "#b2182b", OURS: "#2166ac", LIMIT: "#777777"}


@dataclass(frozen=True)
class Bars:
    """Seconds of an operation, by side. A side can lack."""

    name: str
    seconds: Mapping[str, float]


def plot(bars: Sequence[Bars], scans: Mapping[str, Mapping[int, float]]) -> str:
    """The whole plot. `scans`: seconds by number of VDIs, by side."""
    top, height = _operations(bars)
    bottom, more = _scans(scans, height)
    size = f'width="{_WIDTH}" height="{height + more}" viewBox="0 0 {_WIDTH} {height + more}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *top, *bottom, "</svg>"]) + "\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around all values."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))


def _operations(bars: Sequence[Bars]) -> tuple[list[str], float]:
    low, high = _decades([seconds for each in bars for seconds in each.seconds.values()])

    def x(seconds: float) -> float:
        return _LABELS + (_WIDTH - _LABELS - _RIGHT) * (math.log10(seconds) - low) / (high - low)

    bottom = _TOP + _ROW * len(bars)
    drawn = [_text(10, 22, "Milliseconds of an operation; beside it, ours / limit", size=15)]
    for number, (side, colour) in enumerate(_COLOURS.items()):
        drawn.append(_text(_LABELS + 150 * number, 46, side, colour=colour))
    for power in range(low, high + 1):
        at = x(10**power)
        drawn += [_line(at, _TOP, at, bottom, _GRID), _text(at, bottom + 15, f"{10 ** (power + 3):,g}", "middle")]
    for row, each in enumerate(bars):
        y = _TOP + _ROW * row
        drawn.append(_text(_LABELS - 8, y + 20, each.name, "end"))
        for number, (side, colour) in enumerate(_COLOURS.items()):
            if side in each.seconds:
                width = x(each.seconds[side]) - _LABELS
                place = f'x="{_LABELS}" y="{y + 3 + _BAR * number}" width="{width:.1f}" height="{_BAR - 1}"'
                drawn.append(f'<rect {place} fill="{colour}"/>')
        if LIMIT in each.seconds:
            share = each.seconds[OURS] / each.seconds[LIMIT]
            drawn.append(_text(x(max(each.seconds.values())) + 6, y + 20, f"{share:.2f}"))
    return drawn, bottom + 30


def _scans(lines: Mapping[str, Mapping[int, float]], above: float) -> tuple[list[str], float]:
    numbers = sorted(lines[OURS])
    low, high = _decades([seconds for line in lines.values() for seconds in line.values()])
    top, bottom = above + 40, above + 260

    def x(number: float) -> float:
        whole = math.log10(numbers[-1] / numbers[0])
        return _LABELS + (_WIDTH - _LABELS - 100) * math.log10(number / numbers[0]) / whole

    def y(seconds: float) -> float:
        return bottom - (bottom - top) * (math.log10(seconds) - low) / (high - low)

    drawn = [_text(10, above + 20, "Seconds to list an SR, by its number of VDIs", size=15)]
    for power in range(low, high + 1):
        drawn += [
            _line(_LABELS, y(10**power), _WIDTH - 100, y(10**power), _GRID),
            _text(_LABELS - 8, y(10**power) + 4, f"{10**power:g}", "end"),
        ]
    drawn += [_text(x(number), bottom + 16, f"{number:,}", "middle") for number in numbers]
    for side, line in lines.items():
        colour = _COLOURS[side]
        points = [(x(number), y(line[number])) for number in numbers]
        path = " ".join(f"{left:.1f},{height:.1f}" for left, height in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{left:.1f}" cy="{at:.1f}" r="3.5" fill="{colour}"/>' for left, at in points]
        # The lines of ours and of the limit nearly meet.
        below = 16 if side == LIMIT else 4
        drawn.append(_text(points[-1][0] + 10, points[-1][1] + below, side.partition(":")[0], colour=colour))
    return drawn, 290


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, colour: str = _TEXT) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {where}>{escape(text)}</text>"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="1"/>'
