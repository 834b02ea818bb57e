"""The terminal view at 100 columns: values, places, widths, colours."""

import io
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from rich.color import Color
from rich.console import Console

from scanner import view
from scanner.alerts import AlertBook, AlertRules
from scanner.consolidated import Consolidated
from scanner.view import COLOURS, LiveView, export_svg, plain_lines, steady
from scanner.view_model import (
    GroupRow,
    Rates,
    VenueHealth,
    across_venues,
    contract_text,
    view_model,
)
from tests.scanner.scans import EXPIRY, PLENTY, Group, Scans, option, perp

LISTINGS = [
    option("deribit"),
    option("okx"),
    option("binance", strike=4_000, right="P", underlying="ETH"),
    perp(),
]
VENUES = (
    VenueHealth("deribit", 2, 2, 12_345.0, 0, 0, 0, 43.2),
    VenueHealth("okx", 1, 2, 845.0, 3, 4, 12_345, math.nan),
)


def listing_of(row):
    return LISTINGS[row] if row < len(LISTINGS) else None


def name_of(underlying):
    return ("BTC", "ETH")[underlying]


def scene(seconds=(0, 1, 43)):
    """Two venues of one contract unusual, a put less so; a group alert; second strata warming."""
    scans = Scans(len(LISTINGS))
    scans.top = {"spike": [0, 1, 2], "broad": [1]}
    scans.reference_count[:] = [PLENTY, 59_999, 30_000, 599, 0]
    scans.p_feature[9, 0], scans.z[9, 0] = 1e-7, -8.12
    scans.metrics = {
        "pressure": [1.0, 1.0, 1.0, math.nan],
        "delta": [0.5, math.nan, -0.4, math.nan],
        "ofi_30s_usd_vega": [-1234.0, 34.0, math.nan, math.nan],
        "spread_rel": [0.0512, 0.004, 1.7, math.nan],
        "quote_age_s": [0.4, 75.0, 600.0, math.nan],
    }
    scans.warming[1] = True
    scans.groups = [Group(0, EXPIRY, 3e-6, members=(0, 1), direction=-1.0), Group(1, 0, 0.25)]
    book = AlertBook(AlertRules(), listing_of, name_of)
    for second in seconds:
        result = scans.at(second, spike={0: 5e-7, 1: 5e-6, 2: 0.005}, broad={1: 1e-6})
        book.update(result)
    return scans, book, result


def model_of(result, book):
    return view_model(result, book, listing_of, name_of, VENUES, Rates(41_234.0, 96_000.0, 12.345))


@pytest.fixture
def model():
    _, book, result = scene()
    return model_of(result, book)


def page(model, console_view=None, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print((console_view or LiveView(console)).render(model))
    return console.file.getvalue().splitlines()


def line_with(lines, text):
    return next(line for line in lines if text in line)


def words(line):
    """The line with single spaces."""
    return " ".join(line.split())


def test_no_line_is_longer_than_the_page(model):
    lines = page(model)
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert len(page(model, width=200)) == len(lines)  # nothing was wrapped


def test_header_says_when_how_much_and_how_fast(model):
    lines = page(model)
    assert "2026-03-26 12:00:43 UTC   scan 3   listings 4   fresh 3" in lines[0]
    assert "messages/s   41.2k   rows/s   96.0k   scan   12.3ms" in lines[1]


def test_header_says_which_strata_are_calibrated(model):
    # 59,999 entries are the first that allow p_on = 1e-4; 30,000 are half of it, 599 are 1 %.
    assert words(page(model)[2]) == (
        "calibration ≤1s ok 2-4s ok 5-15s 50% 16-60s 1% >60s 0% groups ok"
    )


def test_anomaly_line_shows_every_value_in_its_place(model):
    # headline p = 2 x 5e-7; direction up (call bought), volatility up; open for 42 s
    assert words(line_with(page(model), "1 BTC 27MAR26 90000 C  deribit")) == (
        "1 BTC 27MAR26 90000 C deribit spike 6.00 1e-06 ▲▲ -1.23k 5.12% 0.4s 42s "
        "liq 100% depth/60s -8.1"
    )


def test_listing_stands_under_the_list_where_it_is_stronger(model):
    assert words(line_with(page(model), "okx     broad")) == (
        "2 BTC 27MAR26 90000 C okx broad 5.70 2e-06 ·▲ +34 0.40% 75s 42s warming"
    )


def test_bought_put_points_down_and_volatility_up(model):
    assert words(line_with(page(model), "ETH 27MAR26 4000 P")) == (
        "3 ETH 27MAR26 4000 P binance spike 2.00 1e-02 ▼▲ - 170% 10m -"
    )


def test_open_alert_line_shows_scope_listings_score_and_age(model):
    lines = page(model)
    assert words(line_with(lines, "● 12:00:01 spike")) == (
        "● 12:00:01 spike BTC 27MAR26 90000 C 2x 6.00 ↑ 6.00 ▲▲ -1.20k 42s liq 100% depth/60s -8.1"
    )
    assert "open 3   opened 3   closed 0" in line_with(lines, "ALERTS")


def test_closed_alert_says_why():
    scans, book, _ = scene()
    scans.lost[:] = True
    scans.validity[:] = 256
    result = scans.at(44)
    book.update(result)
    lines = page(model_of(result, book))
    assert words(line_with(lines, "○ 12:00:44 spike")) == (
        "○ 12:00:44 spike BTC 27MAR26 90000 C 2x - ↑ 6.00 ▲▲ -1.20k 43s closed: invalid"
    )
    assert "nothing is scored yet" in line_with(lines, "nothing")


def test_groups_and_feeds_stand_side_by_side(model):
    lines = page(model)
    assert words(line_with(lines, "BTC 27MAR26         5.52")) == (
        "BTC 27MAR26 5.52 3e-06 ▼ 8 deribit 2/2 12.3k 0 0 0 43.2ms"
    )
    assert words(line_with(lines, "ETH all")) == "ETH all 0.60 0.25 · 8 okx 1/2 845 3 4 12.3k -"


def test_page_keeps_its_height_while_rows_come_and_go(model):
    scans, book, _ = scene(seconds=(0,))
    empty = model_of(scans.at(1), book)
    assert len(page(empty)) == len(page(model))


def group(key, score):
    return GroupRow(key=key, score=score, p=10**-score, direction=0, member_count=8)


def keys(rows):
    return "".join(row.key for row in rows)


def test_row_keeps_its_place_until_clearly_overtaken():
    rows = [group("b", 5.1), group("a", 5.0), group("c", 4.0)]
    assert keys(steady(rows, "abc")) == "abc"
    rows = [group("b", 5.11), group("a", 5.0), group("c", 4.0)]
    assert keys(steady(rows, "abc")) == "bac"


def test_new_row_climbs_past_all_weaker_ones():
    rows = [group("n", 9.0), group("a", 5.0), group("b", 4.0), group("m", 3.0)]
    assert keys(steady(rows, "ab")) == "nabm"


def test_view_remembers_the_order_of_its_last_page(model):
    scans, book, result = scene()
    live = LiveView(Console(file=io.StringIO()))
    page(model_of(result, book), live)
    stronger = scans.at(44, spike={0: 5e-7, 1: 4.5e-7}, broad={1: 1e-6})  # okx ahead by 0.046
    lines = page(model_of(stronger, book), live)
    assert "1 BTC 27MAR26 90000 C  deribit" in line_with(lines, "deribit")
    assert "2 BTC 27MAR26 90000 C  okx" in line_with(lines, "okx   ")


def contrast(colour, ground):
    """WCAG 2.1 contrast ratio of a colour and black (0) or white (1)."""

    def linear(channel):
        c = channel / 255
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(c) for c in Color.parse(colour).get_truecolor())
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    high, low = max(light, ground), min(light, ground)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
def test_colour_reads_on_black_and_on_white(colour):
    assert contrast(colour, 0.0) >= 4.0
    assert contrast(colour, 1.0) >= 4.0


def test_long_contract_keeps_strike_and_right(model):
    odd = option("deribit", strike=123_456, right="P", underlying="BTC_USDC")
    assert contract_text(odd) == "BTC_USDC 27MAR26 123456 P"
    assert view._tail(contract_text(odd), 20) == "…DC 27MAR26 123456 P"


def test_listing_that_is_no_option_shows_its_symbol():
    assert contract_text(perp()) == "BTC-PERPETUAL"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.44, "+0.4"),
        (-9.4, "-9.4"),
        (12.0, "+12"),
        (999.4, "+999"),
        (999.6, "+1.00k"),
        (-34_560, "-34.6k"),
        (999_400, "+999k"),
        (1e6, "+1.00M"),
        (2.5e9, "+2.50G"),
        (math.nan, "-"),
    ],
)
def test_money_takes_three_digits(number, text):
    assert view._money(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.96, "10s"), (99.6, "2m"), (3_600, "60m"), (7_200, "2h"), (864_000, "10d")],
)
def test_spans_fit_four_columns(seconds, text):
    assert view._span(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.0012, "0.12%"), (0.123, "12.3%"), (1.7, "170%"), (math.nan, "-")]
)
def test_spread_is_a_percentage(share, text):
    assert view._share(share) == text


def test_plain_lines_carry_the_same_numbers(model):
    lines = plain_lines(model)
    assert lines[0] == (
        "2026-03-26 12:00:43 scan 3: 3 of 4 listings fresh, 41.2k msg/s, 96.0k rows/s, 12.3ms, "
        "3 alerts open; calibration ≤1s ok, 2-4s ok, 5-15s 50%, 16-60s 1%, >60s 0%, groups ok"
    )
    assert lines[1] == (
        "  1. BTC 27MAR26 90000 C deribit spike score 6.00 p 1e-06 liq 100% depth/60s -8.1"
    )
    assert lines[4] == (
        "  alert spike BTC 27MAR26 90000 C score 6.00 for 42s liq 100% depth/60s -8.1"
    )


def test_away_from_a_terminal_lines_come_every_ten_seconds():
    scans, book, _ = scene(seconds=(0,))
    console = Console(file=io.StringIO(), width=40)
    with LiveView(console) as live:
        for second in (1, 5, 10.9, 11):
            live.show(model_of(scans.at(second), book))
    heads = [line for line in console.file.getvalue().splitlines() if " scan " in line]
    assert [head[11:19] for head in heads] == ["12:00:01", "12:00:11"]


def test_on_a_terminal_the_last_page_stays(model):
    console = Console(file=io.StringIO(), width=100, height=50, force_terminal=True)
    with LiveView(console) as live:
        live.show(model)
    after_the_page = console.file.getvalue().split("\x1b[?1049l")[-1]
    assert "CROSS-MARKET SCANNER" in after_the_page


def test_terminal_without_a_model_leaves_nothing():
    console = Console(file=io.StringIO(), width=100, height=50, force_terminal=True)
    with LiveView(console):
        pass
    assert "SCANNER" not in console.file.getvalue().split("\x1b[?1049l")[-1]


def test_picture_is_svg_that_fetches_nothing(model, tmp_path):
    export_svg(model, tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text("utf-8")
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own file
    assert "@font-face" not in text
    assert "url(http" not in text
    assert "deribit" in text
    export_svg(model, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text("utf-8") == text


# Trouble with feeds.

REFUSED = "2 of 3 connections down: wss://x: ClientConnectorError(refused)"


def terminal() -> Console:
    return Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)


def test_a_venue_in_trouble_says_so_on_the_page_until_it_is_over(model):
    console = Console(width=100, file=io.StringIO(), color_system=None)
    view = LiveView(console)
    whole = page(model, view)
    view.trouble("deribit", REFUSED)
    assert words(line_with(page(model, view), REFUSED)) == f"deribit: {REFUSED}"
    assert len(page(model, view)) == len(whole)
    view.trouble("deribit", "")
    assert page(model, view) == whole


def test_before_the_first_scan_the_page_says_what_is_waited_for():
    console = terminal()
    with LiveView(console) as view:
        assert "waiting for the first data" in console.file.getvalue()
        view.trouble("deribit", REFUSED)
        assert REFUSED in console.file.getvalue()


def test_away_from_a_terminal_trouble_is_a_line():
    console = Console(width=40, file=io.StringIO())
    view = LiveView(console)
    view.trouble("deribit", REFUSED)
    view.trouble("deribit", "")
    lines = console.file.getvalue().splitlines()
    assert lines == [f"feed deribit: {REFUSED}", "feed deribit: whole again"]


def test_feed_that_recovers_says_so_in_a_line_of_its_own(model):
    venues = (replace(VENUES[0], recovering=1), replace(VENUES[1], recovering=2))
    text = "\n".join(page(replace(model, venues=venues)))
    assert "recovering: 1 connection, alerts held" in text
    assert "recovering: 2 connections, alerts held" in text
    down = replace(model, venues=(replace(VENUES[0], maintenance=True, recovering=1),))
    assert "maintenance; recovering: 1 connection" in "\n".join(page(down))


def test_clock_of_a_venue_is_told_where_it_is_off_by_more_than_a_way_takes(model):
    venues = [replace(VENUES[0], offset_ms=ms) for ms in (-1500.0, 700.0, 499.0, math.nan)]
    lines = page(replace(model, venues=tuple(venues)))
    text = "\n".join(lines)
    assert "clock 1500ms ahead" in text
    assert "clock 700ms behind" in text
    assert text.count("clock ") == 2
    assert "recovering" not in "\n".join(page(model))


def test_page_says_how_many_listings_of_a_feed_have_depth(model):
    tiered = replace(model, venues=(replace(VENUES[0], deep=203), VENUES[1]))
    lines = page(tiered)
    (at,) = [n for n, line in enumerate(lines) if "depth: 203 listings" in line]
    assert "deribit" in lines[at - 1]
    assert "depth:" not in "\n".join(page(model))


def test_contracts_over_all_venues_are_told_with_the_widest_cross_first():
    names = ["deribit", "okx", "binance"]
    members = [option(name) for name in names] + [option(name, strike=95_000) for name in names]
    nan = math.nan
    book = Consolidated(
        contract_id=np.arange(3, dtype=np.uint32),
        venue_count=np.array([3, 2, 1], np.int32),
        price_usd=np.array([[2020.0, 150.0, 7.0], [2010.0, 100.0, 8.0]]),
        size=np.full((2, 3), nan),
        listing_id=np.array([[0, 4, 3], [1, 5, 3]], np.uint32),
        age_ns=np.zeros((2, 3), np.int64),
        assumed_rate=np.zeros((2, 3), bool),
        locked=np.array([False, False, False]),
        crossed=np.array([True, True, False]),
    )
    found = across_venues(book, lambda row: members[row])
    assert (found.contract_count, found.shared_count, found.crossed_count) == (3, 2, 2)
    assert [(row.bid_venue, row.ask_venue, row.bid_usd) for row in found.widest] == [
        ("okx", "binance", 150.0), ("deribit", "okx", 2020.0),
    ]  # fmt: skip
    _, alert_book, result = scene()
    model = replace(model_of(result, alert_book), across=found)
    text = "\n".join(page(model))
    assert "2 of 3 contracts on several venues" in text
    assert "crossed 2, locked 0" in text
    assert "50.0% okx > binance" in text


def test_ranked_rows_make_room_for_the_alerts_on_a_low_screen(model):
    """Beside them: 5 lines above; below 9 of alerts, 3 of groups and feeds, 2 blank ones."""
    live = LiveView(Console(width=100, file=io.StringIO(), color_system=None), rows=20)

    def height_of(screen, of=model):
        console = Console(width=100, file=io.StringIO(), color_system=None)
        console.print(live.render(of, screen))
        lines = console.file.getvalue().splitlines()
        return len(lines), next(n for n, line in enumerate(lines) if "ALERTS" in line)

    assert len(page(model, live)) == 5 + 20 + 14
    assert height_of(300) == height_of(39) == (39, 26)
    assert height_of(30) == (30, 17)
    assert height_of(10) == (5 + 6 + 14, 12)
    # Remarks below feeds take rows; when they are gone, their lines stay free and nothing moves.
    remarks = replace(VENUES[0], recovering=1, deep=3)
    busy = replace(model, venues=(remarks, remarks, *[VENUES[1]] * 3))  # 7 lines more
    assert height_of(36, busy) == (36, 16)
    assert height_of(36) == (29, 16)


def test_a_low_terminal_shows_the_alerts_while_the_page_lives(model):
    console = Console(file=io.StringIO(), width=100, height=26, force_terminal=True)
    with LiveView(console, rows=20) as live:
        live.show(model)
        assert "ALERTS" in console.file.getvalue()


def test_a_note_stands_above_the_rows_beside_whatever_trouble_there_is(model):
    noted = replace(model, note="planted 3 s ago: a pull")
    live = LiveView(Console(width=100, file=io.StringIO(), color_system=None))
    lines = page(noted, live)
    assert words(lines[3]) == "planted 3 s ago: a pull"
    assert len(lines) == len(page(model))
    live.trouble("okx", "refused")
    assert [words(line) for line in page(noted, live)[3:5]] == [
        "okx: refused", "planted 3 s ago: a pull",
    ]  # fmt: skip
    assert plain_lines(noted)[1] == "  planted 3 s ago: a pull"
    assert len(plain_lines(noted)) == len(plain_lines(model)) + 1


def test_groups_of_one_day_are_told_apart_by_their_hour():
    scans, book, _ = scene(seconds=(0,))
    noon = EXPIRY + 4 * 3_600 * 10**9
    scans.groups = [
        Group(0, EXPIRY, 1.0), Group(0, noon, 0.25, lost=True), Group(1, EXPIRY, 0.5),
    ]  # fmt: skip
    rows = model_of(scans.at(1), book).groups
    # The other BTC group has no score now, and is another one all the same.
    assert [row.key for row in rows] == ["ETH 27MAR26", "BTC 27MAR26 08:00"]
    assert "-0.00" not in "\n".join(page(model_of(scans.at(2), book)))


def test_long_lags_are_told_in_seconds():
    shown = {9_999.0: "9999ms", 9_999.5: "10.0s", -12_919.0: "-12.9s", 99.94: "99.9ms"}
    assert {number: view._ms(number) for number in shown} == shown
