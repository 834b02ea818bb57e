"""Stage 8 of 8: the terminal view: 100 columns, rows that stay where they are, no wrapping.

Every cell is cut and padded here to a fixed width, because a table that sizes its columns by
their contents moves under the reader's eye. Colours have a relative luminance near 0.18, which
contrasts with a black ground as well as with a white one; plain text keeps the terminal's own.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from scanner.alert import SECOND_NS
from scanner.view_model import (
    Across,
    AlertRow,
    AnomalyRow,
    GroupRow,
    VenueHealth,
    ViewModel,
)

WIDTH: Final = 100
GREY: Final = "#777777"
GREEN: Final = "#12863c"
RED: Final = "#d93636"
AMBER: Final = "#a66a00"
BLUE: Final = "#2a78c2"
COLOURS: Final = (GREY, GREEN, RED, AMBER, BLUE)

OVERTAKE: Final = 0.1  # A row moves up only past one that is this much weaker.
SCORE_HIGH: Final = 6.0
SCORE_RAISED: Final = 4.0
PLAIN_EVERY_S: Final = 10.0
PLAIN_ROWS: Final = 3
ROWS_MIN: Final = 6  # ranked rows on a screen that is too low for the rest
ALERT_ROWS: Final = 8
CLOSED_ROWS: Final = 3  # of ALERT_ROWS, kept free for closes
GROUP_ROWS: Final = 5
OFFSET_SHOWN_MS: Final = 500.0  # More than any way takes: the clocks differ.
HALF: Final = 48  # columns of each of the two tables that stand side by side

_Row = TypeVar("_Row", AnomalyRow, GroupRow)


class LiveView:
    """Draws models as they come; a terminal gets a live page, anything else plain lines.

    Use it as a context manager. On leaving, the last page stays on the screen.
    """

    def __init__(self, console: Console | None = None, rows: int = 16) -> None:
        self._console = console or Console()
        self._rows = rows
        self._order: list[str] = []
        self._group_order: list[str] = []
        self._foot_max = 0
        self._live: Live | None = None
        self._last: ViewModel | None = None
        self._printed_ns: int | None = None
        self._troubles: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, screen=True)
            self._live.start()
            self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if self._last is not None:
            self._console.print(self.render(self._last))

    def show(self, model: ViewModel) -> None:
        """Draw a model; away from a terminal at most every PLAIN_EVERY_S of grid time."""
        self._last = model
        if self._live is not None:
            self._draw()
        elif self._plain_due(model.now_ns):
            self._printed_ns = model.now_ns
            for line in plain_lines(model):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def trouble(self, venue: str, text: str) -> None:
        """Show what keeps a venue's feed from being whole; an empty text ends it."""
        self._troubles.pop(venue, None)
        if text:
            self._troubles[venue] = text
        if self._live is not None:
            self._draw()
        else:
            line = f"feed {venue}: {text or 'whole again'}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> None:
        """Bring the page up to date; before the first scan it says what is waited for."""
        assert self._live is not None
        if self._last is not None:
            page = self.render(self._last, self._console.height)
            self._live.update(page, refresh=True)
            return
        title = _line(("CROSS-MARKET SCANNER", "bold"), ("   waiting for the first data", AMBER))
        self._live.update(Group(title, *_trouble_lines(self._troubles)), refresh=True)

    def render(self, model: ViewModel, height: int | None = None) -> Group:
        """The page of a model, in the order that the rows of the last page suggest.

        height: lines of the screen. Ranked rows make room for what stands below them, down to
        ROWS_MIN: alerts are read before the tenth row is.
        """
        groups = steady(model.groups, self._group_order)[:GROUP_ROWS]
        troubles = _trouble_lines(self._troubles)
        note = [_line((model.note, BLUE))] if model.note or not troubles else []
        head = [*_header(model), *troubles, *note]
        foot = [Text(), *_alert_lines(model), Text()]
        foot += _side_by_side(_group_lines(groups), _venue_lines(model))
        # What was once needed below stays free, so that rows stay where they are.
        self._foot_max = max(self._foot_max, len(foot))
        room = self._rows if height is None else height - len(head) - 1 - self._foot_max
        row_count = min(self._rows, max(ROWS_MIN, room))
        anomalies = steady(model.anomalies, self._order)[:row_count]
        self._order = [row.key for row in anomalies]
        self._group_order = [row.key for row in groups]
        return Group(*head, *_anomaly_lines(anomalies, row_count), *foot)

    def _plain_due(self, now_ns: int) -> bool:
        last = self._printed_ns
        return last is None or now_ns - last >= PLAIN_EVERY_S * SECOND_NS


def steady(rows: Sequence[_Row], order: Sequence[str]) -> list[_Row]:
    """Rows in the order of the last page, where a row rises only past clearly weaker ones.

    New rows come in from below. The first row may so be weaker than the second by OVERTAKE.
    """
    place = {key: k for k, key in enumerate(order)}
    # A sort is stable: rows that the last page did not have keep their order by score.
    found = sorted(rows, key=lambda row: place.get(row.key, len(place)))
    for k in range(1, len(found)):
        while k and found[k].score > found[k - 1].score + OVERTAKE:
            found[k - 1], found[k] = found[k], found[k - 1]
            k -= 1  # noqa: PLW2901 - the row climbs; the outer loop goes on below it
    return found


def plain_lines(model: ViewModel) -> list[str]:
    """A few lines for a log: the state of the scan, the strongest rows, the open alerts."""
    rates, open_count = model.rates, model.counts.get("open", 0)
    state = ", ".join(f"{name} {_ready(ratio)}" for name, ratio in model.calibration)
    fresh = f"{model.fresh_count} of {model.listing_count} listings fresh"
    flow = f"{_rate(rates.messages_per_s)} msg/s, {_rate(rates.rows_per_s)} rows/s"
    head = f"{_clock(model.now_ns)} scan {model.scan_index}: {fresh}, {flow}"
    lines = [f"{head}, {_ms(rates.scan_ms)}, {open_count} alerts open; calibration {state}"]
    lines.extend([f"  {model.note}"] if model.note else [])
    lines.extend(
        f"  {place}. {row.contract} {row.venue} {row.list_name} score {row.score:.2f} "
        f"p {row.p:.1g} {row.driver}".rstrip()
        for place, row in enumerate(model.anomalies[:PLAIN_ROWS], start=1)
    )
    lines.extend(
        f"  alert {row.list_name} {row.scope} score {_score(row.score)} "
        f"for {_span(row.duration_s)} {row.note}".rstrip()
        for row in [alert for alert in model.alerts if alert.open][:PLAIN_ROWS]
    )
    return lines


def export_svg(model: ViewModel, path: Path, title: str = "scanner") -> None:
    """Write the page as a self-contained SVG: no font is fetched from anywhere."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(LiveView(console).render(model))
    drawing = console.export_svg(title=title, unique_id="scanner")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL), "utf-8")


# Sections.


def _header(model: ViewModel) -> Iterable[Text]:
    rates = model.rates
    first = _line(
        ("CROSS-MARKET SCANNER", "bold"),
        ("   ", ""),
        (f"{_clock(model.now_ns)} UTC", "bold"),
        ("   scan ", GREY),
        (f"{model.scan_index:,}", ""),
        ("   listings ", GREY),
        (f"{model.listing_count:,}", ""),
        ("   fresh ", GREY),
        (f"{model.fresh_count:,}", ""),
    )
    second = _line(
        ("messages/s ", GREY),
        (_right(_rate(rates.messages_per_s), 7), ""),
        ("   rows/s ", GREY),
        (_right(_rate(rates.rows_per_s), 7), ""),
        ("   scan ", GREY),
        (_right(_ms(rates.scan_ms), 8), ""),
    )
    third = _line(("calibration", GREY))
    for name, ratio in model.calibration:
        third.append(f"  {name} ", GREY)
        third.append(_ready(ratio), GREEN if ratio >= 1.0 else AMBER)
    return first, second, third


def _trouble_lines(troubles: Mapping[str, str]) -> list[Text]:
    return [_line((f"{venue}: ", f"{RED} bold"), (text, RED)) for venue, text in troubles.items()]


def _anomaly_lines(rows: Sequence[AnomalyRow], row_count: int) -> list[Text]:
    title = (
        f"{'#':>2} {'CONTRACT':<20} {'VENUE':<7} {'LIST':<5} {'SCORE':>5} {'P':>5} Δσ "
        f"{'$VEGA':>6} {'SPRD':>5} {'AGE':>4} {'FOR':>4} WHY"
    )
    lines = [_line((title, f"{GREY} bold"))]
    lines.extend(_anomaly_line(place, row) for place, row in enumerate(rows, start=1))
    if not rows:
        lines.append(_line(("   nothing is scored yet", GREY)))
    return _padded(lines, row_count + 1)


def _anomaly_line(place: int, row: AnomalyRow) -> Text:
    return _line(
        (f"{place:>2} ", GREY),
        (_tail(row.contract, 20), "bold"),
        (f" {_left(row.venue, 7)} ", ""),
        (f"{_left(row.list_name, 5)} ", GREY),
        (f"{row.score:5.2f} ", _severity(row.score)),
        (f"{_p(row.p)} ", GREY),
        _arrow(row.direction),
        _arrow(row.direction_vol),
        (f" {_right(_money(row.usd_vega), 6)}", ""),
        (f" {_right(_share(row.spread_rel), 5)}", ""),
        (f" {_right(_span(row.quote_age_s), 4)}", ""),
        (f" {_right(_span(row.duration_s), 4)} ", BLUE),
        (_left("warming" if row.warming else row.driver, 23), AMBER if row.warming else ""),
    )


def _alert_lines(model: ViewModel) -> list[Text]:
    counts = model.counts
    title = _line(("ALERTS", f"{GREY} bold"))
    for name in ("open", "opened", "closed", "suppressed", "held"):
        title.append(f"   {name} ", GREY)
        title.append(f"{counts.get(name, 0):,}")
    closed = [row for row in model.alerts if not row.open]
    open_rows = [row for row in model.alerts if row.open]
    shown = open_rows[: ALERT_ROWS - min(len(closed), CLOSED_ROWS)]
    shown += closed[: ALERT_ROWS - len(shown)]
    return _padded([title, *(_alert_line(row) for row in shown)], ALERT_ROWS + 1)


def _alert_line(row: AlertRow) -> Text:
    quiet = "" if row.open else GREY
    return _line(
        ("● " if row.open else "○ ", _severity(row.peak_score) if row.open else GREY),
        (f"{_clock(row.ts_ns)[11:]} ", GREY),
        (f"{_left(row.list_name, 5)} ", GREY),
        (_tail(row.scope, 22), "bold" if row.open else GREY),
        (f" {row.listing_count:>2}x ", quiet or GREY),
        (_right(_score(row.score), 5), _severity(row.score) if row.open else GREY),
        (f" ↑{_right(_score(row.peak_score), 5)} ", GREY),
        _arrow(row.direction),
        _arrow(row.direction_vol),
        (f" {_right(_money(row.usd_vega), 6)}", quiet),
        (f" {_right(_span(row.duration_s), 4)} ", BLUE if row.open else GREY),
        (_left("warming" if row.warming and row.open else row.note, 23), quiet),
    )


def _group_lines(rows: Sequence[GroupRow]) -> list[Text]:
    title = f"{'GROUP':<18} {'SCORE':>5} {'P':>5} Δ {'MEMBERS':>7}"
    lines = [_half(((title, f"{GREY} bold"),))]
    for row in rows:
        cells = (
            (_tail(row.key, 18), "bold"),
            (f" {row.score:5.2f} ", _severity(row.score)),
            (f"{_p(row.p)} ", GREY),
            _arrow(row.direction),
            (f" {row.member_count:>7,}", ""),
        )
        lines.append(_half(cells))
    return lines


def _across_lines(across: Across) -> list[Text]:
    title = (
        f"{_count(across.shared_count)} of {_count(across.contract_count)} contracts on several "
        f"venues"
    )
    lines = [_half(((title, GREY),))]
    counts = f"crossed {across.crossed_count}, locked {across.locked_count}"
    lines.append(_half(((counts, AMBER if across.crossed_count else GREY),)))
    for row in across.widest:
        share = (row.bid_usd - row.ask_usd) / row.ask_usd
        words = f" {_left(row.contract, 20)} {_right(_percentage(share), 5)}"
        lines.append(_half(((f"{words} {row.bid_venue} > {row.ask_venue}", ""),)))
    return lines


def _venue_lines(model: ViewModel) -> list[Text]:
    title = (
        f"{'FEED':<8} {'CONN':>5} {'MSG/S':>6} {'GAPS':>5} {'RESYNC':>6} {'REJECT':>6} {'LAG':>6}"
    )
    lines = [_half(((title, f"{GREY} bold"),))]
    for venue in model.venues:
        whole = venue.connections >= venue.connections_planned
        cells = (
            (_left(venue.venue, 8), "bold"),
            (
                f" {_right(f'{venue.connections}/{venue.connections_planned}', 5)}",
                GREEN if whole else f"{RED} bold",
            ),
            (f" {_right(_rate(venue.messages_per_s), 6)}", ""),
            (f" {_right(_count(venue.gaps), 5)}", AMBER if venue.gaps else GREY),
            (f" {_right(_count(venue.resyncs), 6)}", GREY),
            (f" {_right(_count(venue.rejected), 6)}", AMBER if venue.rejected else GREY),
            (f" {_right(_ms(venue.lag_ms), 6)}", ""),
        )
        lines.append(_half(cells))
        if remarks := _remarks(venue):
            lines.append(_half(((f"  {remarks}"[:HALF], AMBER),)))
        if venue.deep is not None:
            lines.append(_half(((f"  depth: {_count(venue.deep)} listings", GREY),)))
    return lines if model.across is None else lines + _across_lines(model.across)


def _remarks(venue: VenueHealth) -> str:
    """What the cells of a feed do not say; "" where all is as it should be."""
    found = ["maintenance"] if venue.maintenance else []
    if venue.recovering:
        plural = "s" if venue.recovering > 1 else ""
        found.append(f"recovering: {venue.recovering} connection{plural}, alerts held")
    if abs(venue.offset_ms) >= OFFSET_SHOWN_MS:
        side = "behind" if venue.offset_ms > 0 else "ahead"
        found.append(f"clock {_ms(abs(venue.offset_ms))} {side}")
    return "; ".join(found)


# Lines and cells.


def _line(*cells: tuple[str, str]) -> Text:
    text = Text(" ", no_wrap=True, overflow="crop", end="")
    for content, style in cells:
        text.append(content, style or None)
    text.end = "\n"
    return text


def _half(cells: Iterable[tuple[str, str]]) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    for content, style in cells:
        text.append(content, style or None)
    return text


def _side_by_side(left: Sequence[Text], right: Sequence[Text]) -> list[Text]:
    lines = []
    for k in range(max(len(left), len(right))):
        line = Text(" ", no_wrap=True, overflow="crop")
        if k < len(left):
            line.append_text(left[k])
        line.pad_right(max(0, HALF + 3 - len(line)))
        if k < len(right):
            line.append_text(right[k])
        lines.append(line)
    return lines


def _padded(lines: list[Text], line_count: int) -> list[Text]:
    return lines + [Text() for _ in range(line_count - len(lines))]


def _left(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"


def _tail(text: str, width: int) -> str:
    """Cut at the front: strike and right tell contracts apart, and they stand at the end."""
    return f"{text:<{width}}" if len(text) <= width else "…" + text[1 - width :]


def _right(text: str, width: int) -> str:
    return f"{text:>{width}}" if len(text) <= width else text[: width - 1] + "…"


def _arrow(direction: int) -> tuple[str, str]:
    return {1: ("▲", GREEN), -1: ("▼", RED)}.get(direction, ("·", GREY))


def _severity(score: float) -> str:
    if score >= SCORE_HIGH:
        return f"bold {RED}"
    return f"bold {AMBER}" if score >= SCORE_RAISED else ""


def _clock(instant_ns: int) -> str:
    instant = datetime.fromtimestamp(instant_ns // SECOND_NS, UTC)
    return instant.strftime("%Y-%m-%d %H:%M:%S")


def _unknown_as_dash(form: Callable[[float], str]) -> Callable[[float], str]:
    return lambda number: "-" if math.isnan(number) else form(number)


def _scaled(number: float) -> str:
    """Three significant digits with a letter: 950, 1.20k, 34.5M."""
    size = abs(number)
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999.5 and more of a unit would print as 1000 of it.
        if size >= 0.9995 * bound:
            scaled = number / bound
            digits = max(0, 2 - int(math.log10(max(abs(scaled), 1.0)) + 1e-9))
            return f"{scaled:.{digits}f}{unit}"
    return f"{number:.0f}" if size >= 9.95 else f"{number:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    if seconds < 5_970:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3_600:.0f}h" if seconds < 356_400 else f"{seconds / 86_400:.0f}d"


def _milliseconds(number: float) -> str:
    if abs(number) >= 9_999.5:
        return f"{number / 1_000:.1f}s"
    return f"{number:.1f}ms" if abs(number) < 99.95 else f"{number:.0f}ms"


def _percentage(share: float) -> str:
    percent = 100 * share
    digits = 2 if percent < 9.995 else 1 if percent < 99.95 else 0
    return f"{percent:.{digits}f}%"


_money: Final = _unknown_as_dash(lambda usd: _scaled(usd) if usd < 0 else f"+{_scaled(usd)}")
_rate: Final = _unknown_as_dash(_scaled)
_span: Final = _unknown_as_dash(_duration)
_ms: Final = _unknown_as_dash(_milliseconds)
_share: Final = _unknown_as_dash(_percentage)
_score: Final = _unknown_as_dash(lambda score: f"{score:.2f}")


def _count(number: int) -> str:
    return f"{number:,}" if number < 10_000 else _scaled(number)


def _p(p: float) -> str:
    return f"{p:5.0e}" if p < 0.1 else f"{p:5.2f}"


def _ready(ratio: float) -> str:
    """`ok`, or how much of the reference is there, rounded down: 100 % is ok, never 99.6 %."""
    return "ok" if ratio >= 1.0 else f"{math.floor(100 * ratio)}%"
