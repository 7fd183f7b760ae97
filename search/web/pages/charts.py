"""Charts as SVG, for screens and for paper. Pure: numbers in, markup out; colours and strokes are the style sheet's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from search.report.snapshot import duration

RIGHT, TOP, BOTTOM = 12.0, 12.0, 26.0  # margins around a plot, in the units of its viewBox
TICKS = 5
DIGITS = 12  # behind the point of a tick
NARROWEST = 10**-DIGITS  # range, as a share of its ends: a tick's digits do not tell more
HIDDEN = 0.05  # of the lowest values, if they would flatten all others
STEPS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 86400, 604800)  # seconds between ticks of time
NICE = (1, 2, 2.5, 5, 10)
MANY = 400  # lines in parallel coordinates: more cover each other


@dataclass(frozen=True)
class Scale:
    """From values to places along one side of a plot."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin), 1)


@dataclass(frozen=True)
class Frame:
    """The size of a plot. A phone gets its own, so that its words can be read; classes: by which the style sheet shows
    one or the other."""

    width: float
    left: float
    classes: str
    count: int  # ticks along it

    def across(self, low: float, high: float) -> Scale:
        return Scale(low, high, self.left, self.width - RIGHT)


DESK, PHONE = Frame(960.0, 64.0, "for-desks", 8), Frame(400.0, 50.0, "for-phones", 4)


def for_both(draw: Callable[[Frame], Markup]) -> Markup:
    """A plot for desks and for phones, of which one is shown."""
    return draw(DESK) + draw(PHONE)


def ticks(low: float, high: float, most: int = TICKS) -> list[float]:
    """Round numbers within a range, at most so many and one more."""
    if not high - low > NARROWEST * max(abs(low), abs(high), 1.0):
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in NICE if (high - low) / (factor * power) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, DIGITS) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """For an axis: no more digits than it has."""
    return f"{value:.6g}"


def range_of(values: Sequence[float], always: Sequence[float] = ()) -> tuple[float, float]:
    """The range that a plot shows. always: what must be in it; of the other values the lowest few may be cut off."""
    ordered = sorted(values)
    if not ordered and not always:
        return 0.0, 1.0
    high = max([*ordered[-1:], *always])
    low, kept = min([*ordered[:1], *always]), min(always, default=high)
    usual = ordered[int(len(ordered) * HIDDEN)] if ordered else low
    if high - low > 3 * (high - usual) > 0:
        low = min(usual, kept)
    margin = 0.06 * (high - low) or abs(high) * 0.01 or 0.5
    return low - margin, high + margin


def svg(width: float, height: float, said: str, *parts: str, classes: str = "chart", more: str = "") -> Markup:
    """An image with a description for those who do not see it."""
    inner = "".join(parts)
    return Markup(
        f'<svg class="{classes}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(said)}"{more}>'
        f"{inner}</svg>"
    )


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{classes}">{escape(words)}</text>'


def grid(frame: Frame, x: Scale, y: Scale, y_ticks: Sequence[float]) -> str:
    """Lines and numbers of a plot's axes; x in whole numbers, of experiments."""
    parts = []
    for value in y_ticks:
        place = y(value)
        parts.append(f'<path class="grid" d="M{x.begin:g} {place}H{x.end:g}"/>')
        parts.append(text(x.begin - 8, place + 4, number(value), "tick", "end"))
    room = x.end - 90  # for the label
    for value in ticks(x.low, x.high, frame.count):
        if value == int(value) and x(value) < room:
            parts.append(text(x(value), y.begin + 18, number(value), "tick", "middle"))
    parts.append(text(x.end, y.begin + 18, "experiment", "tick label", "end"))
    return "".join(parts)


def marks(places: Iterable[tuple[float, float]], classes: str) -> str:
    """Dots as one path, since there may be thousands; those that would lie on each other are one."""
    found, at = [], (0, 0)
    for x, y in sorted({(round(x), round(y)) for x, y in places}):
        found.append(f"m{x - at[0]} {y - at[1]}h0")
        at = (x, y)
    return f'<path class="mark {classes}" d="{"".join(found)}"/>' if found else ""


@dataclass(frozen=True)
class Point:
    """One experiment of a history. place: in order of decision. value: None: it has none. status: keep, discard, crash
    or stopped. low, high: of its interval, if it has one."""

    place: int
    number: int
    value: float | None
    status: str
    low: float | None = None
    high: float | None = None


def progress(
    points: Sequence[Point],
    name: str,
    level: tuple[float, str] | None = None,
    band: tuple[float, float, str] | None = None,
    frame: Frame = DESK,
) -> Markup:
    """Every experiment's value, and the incumbents as steps, with their intervals.

    level: a value to compare with, and its name. band: from, to, and its name.
    """
    height = 320.0 if frame is DESK else 240.0
    kept = [one for one in points if one.status == "keep" and one.value is not None]
    bounds = [bound for one in kept for bound in (one.low, one.value, one.high) if bound is not None]
    low, high = range_of(
        [one.value for one in points if one.value is not None], [*bounds, *([level[0]] if level else [])]
    )
    x, y = frame.across(0, max(len(points) - 1, 1)), Scale(low, high, height - BOTTOM, TOP)
    parts = [grid(frame, x, y, ticks(low, high))]
    if band:
        top, foot = y(band[1]), y(band[0])
        parts.append(
            f'<rect class="band" x="{x.begin:g}" y="{top:g}" width="{x.end - x.begin:g}" height="{foot - top:.1f}">'
            f"<title>{escape(band[2])}</title></rect>"
        )
    if level:
        parts.append(f'<path class="level" d="M{x.begin:g} {y(level[0]):g}H{x.end:g}"/>')
        parts.append(text(x.begin + 4, y(level[0]) - 5, level[1], "tick level-name"))
    for status in ("discard", "stopped", "crash"):
        some = (one for one in points if one.status == status)
        parts.append(marks(((x(o.place), y.begin - 3 if o.value is None else y(o.value)) for o in some), status))
    if kept:
        steps = f"M{x(kept[0].place):g} {y(kept[0].value or 0.0):g}"
        steps += "".join(f"H{x(one.place):g}V{y(one.value or 0.0):g}" for one in kept[1:]) + f"H{x.end:g}"
        parts.append(f'<path class="steps" d="{steps}"/>')
        for one in kept:
            if one.low is not None and one.high is not None:
                parts.append(f'<path class="interval" d="M{x(one.place):g} {y(one.low):g}V{y(one.high):g}"/>')
            parts.append(f'<circle class="keep" cx="{x(one.place):g}" cy="{y(one.value or 0.0):g}" r="4.5"/>')
    best = f"; the best has {number(kept[-1].value or 0.0)}" if kept else ""
    said = f"{name} of {len(points)} experiments, {len(kept)} kept{best}. The table of experiments has every number."
    about = {"hover": "progress", "low": f"{low:.9g}", "high": f"{high:.9g}", "count": len(points), "left": x.begin}
    more = "".join(f' data-{key}="{value}"' for key, value in about.items())
    return svg(frame.width, height, said, *parts, classes=f"chart {frame.classes}", more=more)


def rates(series: Mapping[str, Sequence[tuple[int, float]]], count: int, frame: Frame = DESK) -> Markup:
    """Rates of the incumbents, 0…1, as steps: by name, (place, value) in order."""
    height = 180.0
    x, y = frame.across(0, max(count - 1, 1)), Scale(0.0, 1.0, height - BOTTOM, TOP)
    parts = [grid(frame, x, y, [0.0, 0.25, 0.5, 0.75, 1.0])]
    for place, steps in enumerate(series.values()):
        if steps:
            line = f"M{x(steps[0][0]):g} {y(steps[0][1]):g}"
            line += "".join(f"H{x(at):g}V{y(value):g}" for at, value in steps[1:]) + f"H{x.end:g}"
            parts.append(f'<path class="series series-{place}" d="{line}"/>')
    now = ", ".join(f"{name} {steps[-1][1]:.2f}" for name, steps in series.items() if steps)
    return svg(frame.width, height, f"Rates of the incumbents; now {now}.", *parts, classes=f"chart {frame.classes}")


@dataclass(frozen=True)
class Span:
    """A piece of a slot's time. began, ended: seconds since the epoch. kind: start-up, training, evaluation or
    crash."""

    began: float
    ended: float
    kind: str
    words: str
    experiment: int | None = None


def lanes(slots: Mapping[str, Sequence[Span]], begin: float, end: float, frame: Frame = DESK) -> Markup:
    """What each slot did, as a lane of time."""
    row, foot = 22.0, 24.0
    height = len(slots) * row + foot
    x = frame.across(begin, end)
    parts = []
    for place, (name, spans) in enumerate(slots.items()):
        top = place * row + 3
        parts.append(text(x.begin - 8, top + 12, name, "tick", "end"))
        parts.append(f'<rect class="idle" x="{x.begin:g}" y="{top:g}" width="{x.end - x.begin:g}" height="16"/>')
        for span in spans:
            left, right = x(max(span.began, begin)), x(span.ended)
            if right > left:
                parts.append(
                    f'<rect class="span {span.kind}" x="{left:g}" y="{top:g}" width="{right - left:.1f}" height="16">'
                    f"<title>{escape(span.words)}</title></rect>"
                )
    step = next((one for one in STEPS if (end - begin) / one <= frame.count), STEPS[-1])
    moment = math.ceil(begin / step) * step
    while moment <= end:
        words = time.strftime("%H:%M:%S" if step < 60 else "%H:%M", time.localtime(moment))
        parts.append(text(x(moment), height - 6, words, "tick", "middle"))
        moment += step
    said = f"What {len(slots)} slots did in the last {duration(end - begin)}."
    return svg(frame.width, height, said, *parts, classes=f"chart lanes {frame.classes}")


def sparkline(values: Sequence[float], said: str, width: float = 120.0, height: float = 28.0) -> Markup:
    """A small curve without axes; '' of fewer than two values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return Markup("")
    x = Scale(0, len(finite) - 1, 2, width - 2)
    y = Scale(min(finite), max(finite), height - 3, 3)
    line = "M" + "L".join(f"{x(place):g} {y(value):g}" for place, value in enumerate(finite))
    said = f"{said}: from {number(finite[0])} to {number(finite[-1])}"
    return svg(width, height, said, f'<path class="curve" d="{line}"/>', classes="spark")


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates. places: 0…1 of each line, None where it has no value. low, high: for people."""

    name: str
    places: Sequence[float | None]
    low: str
    high: str


def parallel(axes: Sequence[Axis], worth: Sequence[float], said: str) -> Markup:
    """Parallel coordinates (Inselberg, 1985). worth: 0…1 of each line, 1 for the best; the best lie on top."""
    width, height = 960.0, 320.0
    x = Scale(0, max(len(axes) - 1, 1), 60, width - 60)
    y = Scale(0.0, 1.0, height - 60, 28)
    parts = []
    for line in sorted(range(len(worth)), key=lambda one: worth[one])[-MANY:]:
        points = [
            f"{x(column):g} {y(place):g}"
            for column, axis in enumerate(axes)
            if (place := axis.places[line]) is not None
        ]
        if len(points) > 1:
            level = min(int(worth[line] * 5), 4)
            parts.append(f'<path class="line worth-{level}" d="M{"L".join(points)}"/>')
    for column, axis in enumerate(axes):
        at = x(column)
        parts.append(f'<path class="axis" d="M{at:g} {y.begin:g}V{y.end:g}"/>')
        parts.append(text(at, 18, axis.high, "tick", "middle"))
        parts.append(text(at, y.begin + 18, axis.low, "tick", "middle"))
        parts.append(text(at, y.begin + 36 + 16 * (column % 2), axis.name, "tick label", "middle"))
    return svg(width, height, said, *parts, classes="chart parallel")


def scatter(points: Sequence[tuple[float, float, str]], low: str, high: str, said: str) -> Markup:
    """Values tried on one axis against their scores: (place on the axis 0…1, score, status)."""
    width, height = 300.0, 110.0
    bottom, top = range_of([score for _, score, _ in points])
    x, y = Scale(0.0, 1.0, 46, width - 10), Scale(bottom, top, height - 22, 8)
    parts = [f'<path class="grid" d="M{x.begin:g} {y(tick)}H{x.end:g}"/>' for tick in ticks(bottom, top, 2)]
    parts += [text(x.begin - 6, y(tick) + 4, number(tick), "tick", "end") for tick in ticks(bottom, top, 2)]
    parts += [
        marks(((x(place), y(score)) for place, score, one in points if one == status), status)
        for status in ("discard", "keep")
    ]
    parts += [text(x.begin, height - 6, low, "tick"), text(x.end, height - 6, high, "tick", "end")]
    return svg(width, height, said, *parts, classes="chart scatter")
