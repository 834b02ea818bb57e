"""What is said of planted events: by hand for each outcome, and by the engine for the schedule."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from feeds.emulator.planted import demo_schedule
from feeds.emulator.rows import simulate_rows
from scanner.checkpoint import emulated_names, load
from scanner.commands import demo, live
from scanner.commands.demo import closing_words
from scanner.commands.witness import Sighting, Witness, in_words, record_of, where
from scanner.config import ScanConfig
from scanner.consolidated import Consolidated
from scanner.pipeline import Pipeline
from scanner.view_model import Across, Rates, ViewModel
from tests.scanner.scans import LISTINGS, SECOND, T0, Scans, book_of, opened, option

P_ON = 1e-4
CHECKPOINT = Path(demo.__file__).parent.parent / demo.CHECKPOINT_FILE
KEYS = [f"{x.venue}:{x.symbol}" for x in LISTINGS]
BY_KEY = dict(zip(KEYS, LISTINGS, strict=True))


def truth(kind="pull", venue="deribit", symbols=("BTC-27MAR26-90000-C",), start=10, end=20, **more):
    return {
        "kind": kind, "venue": venue, "target": "x", "symbols": list(symbols),
        "start_ns": T0 + start * SECOND, "end_ns": T0 + end * SECOND,
    } | more  # fmt: skip


class Universe:
    """Symbols of LISTINGS by venue, and a contract number for each strike and right."""

    columns = SimpleNamespace(contract_id=np.array([0, 0, 1, 2**32 - 1, 2, 0], np.uint32))

    def symbols(self, venue):
        return {x.symbol: row for row, x in enumerate(LISTINGS) if x.venue == venue}


class Hand:
    """A witness to whom scans are said by hand."""

    def __init__(self, *truths, lag_s=0.0):
        self.scans = Scans(len(LISTINGS))
        self.witness = Witness(None, P_ON)
        self.witness.lag_ns = round(lag_s * SECOND)
        self.witness.watch(list(truths), BY_KEY)
        self.book = None  # a Consolidated, where there are venues to compare

    def scan(self, second, spike=None, broad=None, alerts=()):
        result = self.scans.at(second, spike, broad)
        pipeline = SimpleNamespace(
            last_scan=result, universe=Universe(),
            scanner=SimpleNamespace(
                device=SimpleNamespace(name="cpu"), consolidated=lambda _: self.book
            ),
        )  # fmt: skip
        sessions = ("deribit", "okx") if self.book is not None else ("deribit",)
        self.witness.on_scan(SimpleNamespace(pipeline=pipeline, sessions=sessions), list(alerts))

    @property
    def only(self):
        (one,) = self.witness.sightings
        return one


@pytest.fixture(autouse=True)
def _no_output(capsys):
    """Without a page alerts go to standard output, which is of no interest here."""
    yield
    capsys.readouterr()


def an_alert():
    (alert,) = opened(book_of(), Scans(len(LISTINGS)))
    return alert


# What is noted


def test_truths_of_one_event_become_one_sighting_in_the_words_of_a_desk():
    slice_ = ["BTC-27MAR26-90000-C", "BTC-27MAR26-100000-C"]
    witness = Hand(
        truth("pull", "okx", slice_[:1], start=11, end=19, target="s"),
        truth("block", start=30, end=31, target="b"),
        truth("pull", "deribit", slice_, target="s"),
    ).witness
    pull, block = witness.sightings
    assert (pull.kind, pull.venues, pull.target) == (
        "pull",
        ("okx", "deribit"),
        "BTC 27MAR26 90000 C",
    )
    assert (pull.start_ns, pull.end_ns) == (T0 + 10 * SECOND, T0 + 20 * SECOND)
    assert pull.keys == {"okx:BTC-27MAR26-90000-C", *(f"deribit:{s}" for s in slice_)}
    assert (block.kind, block.target) == ("block", "BTC 27MAR26 90000 C")
    whole = Hand(truth("pull", "deribit", slice_)).only
    assert whole.target == "BTC 27MAR26"
    assert Hand(truth(symbols=["?"], target="BTC-X")).only.target == "BTC-X"


def test_the_least_p_and_the_hits_of_each_list_are_counted_while_an_event_lasts():
    hand = Hand(truth())
    hand.scan(9, spike={0: 1e-9})  # before it
    hand.scan(10, spike={0: 4e-5}, broad={0: 6e-5})  # headline p 8e-5, 1.2e-4
    hand.scan(11, spike={1: 1e-9})  # another listing
    hand.scan(12)  # not observed
    hand.scan(50, spike={0: 1e-5}, broad={0: 1e-5})  # 30 s behind its end
    hand.scan(51, spike={0: 1e-9})  # over
    assert hand.only.hits == {(0, "spike"): 2, (0, "broad"): 1}
    assert hand.only.best_p == pytest.approx(2e-5)


def test_a_rank_that_was_earned_before_an_event_does_not_count():
    hand = Hand(truth())
    hand.scans.top = {"spike": [3, 0], "broad": [0]}
    hand.scan(9, spike={0: 1e-3})
    hand.scan(10, spike={3: 1e-3})
    assert hand.only.best_rank is None
    hand.scans.top = {"spike": [3, 1, 0], "broad": [3, 0]}
    hand.scan(11, spike={0: 0.01})
    assert hand.only.best_rank == 2
    hand.scans.top = {"spike": [1, 2, 3, 0]}
    hand.scan(12, spike={0: 0.1})
    assert hand.only.best_rank == 2


def test_everything_is_told_by_the_clock_of_the_market():
    """It is seven seconds behind: an alert at 19 s by ours came two after the start at 10 s."""
    hand = Hand(truth(), lag_s=7.0)
    hand.scan(16, spike={0: 1e-9})
    assert not hand.only.hits
    assert not hand.only.began_ns
    assert in_words(hand.only, P_ON)[0] == "not planted in time"
    hand.scan(17, spike={0: 1e-9})
    assert hand.only.began_ns == T0 + 17 * SECOND
    hand.scan(19, alerts=[an_alert()])
    hand.scan(20, alerts=[an_alert()])
    assert len(hand.only.alerts) == 2
    assert hand.only.after_s == 2.0


def test_only_opened_alerts_of_its_listings_are_an_event_s():
    alert = an_alert()
    hand = Hand(truth())
    closed = msgspec.structs.replace(alert, state="close")
    who = msgspec.structs.replace(alert.identity, listings=("okx:BTC-27MAR26-90000-C",))
    hand.scan(11, alerts=[closed, msgspec.structs.replace(alert, identity=who)])
    assert hand.only.alerts == []
    hand.scan(12, alerts=[alert])
    assert hand.only.alerts == [alert]


def crossing(bid, ask, contract=0):
    return Consolidated(
        contract_id=np.array([contract, 2], np.uint32), venue_count=np.array([2, 2], np.int32),
        price_usd=np.array([[bid, 9.0], [ask, 1.0]]), size=np.ones((2, 2)),
        listing_id=np.zeros((2, 2), np.uint32), age_ns=np.zeros((2, 2), np.int64),
        assumed_rate=np.zeros((2, 2), bool), locked=np.zeros(2, bool),
        crossed=np.array([bid > ask, True]),
    )  # fmt: skip


def test_a_cross_is_told_from_its_first_to_its_last_scan():
    hand = Hand(truth("crossed"), truth("crossed", "okx"))
    for second, bid, ask, contract in (
        (10, 100, 101, 0), (11, 103, 100, 0), (12, 104, 100, 0), (13, 102, 100, 0),
        (14, 100, 101, 0), (15, 200, 100, 1),
    ):  # fmt: skip
        hand.book = crossing(bid, ask, contract)
        hand.scan(second)
    assert hand.only.crossed_s == (1.0, 3.0)
    assert hand.only.edge == pytest.approx(0.04)
    said, how = in_words(hand.only, P_ON)
    assert said == "no alert, unranked"
    assert how == (
        "under CROSSED on the page after 1 s, for 2 s, 4.0% wide; a cross is told, not scored"
    )


def test_trades_are_read_from_the_metrics_of_an_event_made_of_trades():
    hand = Hand(truth("sweep"))
    for second, trades, flow in ((10, 3.0, -1.5), (11, 7.0, -4.25), (12, 6.0, 2.0)):
        hand.scans.metrics = {
            "trades": [trades, 99.0, 0, 0, 0, 0], "flow_30s": [flow, 99.0, 0, 0, 0, 0],
            "block_premium_usd": [np.nan, 99.0, 0, 0, 0, 0],
        }  # fmt: skip
        hand.scan(second, spike={0: 1e-3})
    assert (hand.only.trades, hand.only.flow_30s, hand.only.block_usd) == (7.0, -4.25, 0.0)
    assert in_words(hand.only, P_ON)[1] == (
        "prints are measured, not scored: 7 trades, flow_30s -4.25 BTC; book alone: p 2e-03"
    )


# What is said


def told(**changes):
    one = Sighting(
        "pull", ("deribit",), "BTC 27MAR26 90000 C", T0, T0 + SECOND, frozenset(KEYS[:1])
    )
    return replace(one, began_ns=T0, **changes)


@pytest.mark.parametrize(
    ("one", "said", "how"),
    [
        (told(best_rank=4, best_p=3e-4), "no alert, rank 4 at best",
         "p 3.00e-04 at its least; an alert takes 1e-04 in two of three observations"),
        (told(best_rank=1, best_p=2e-6), "no alert, rank 1 at best",
         "p 2.00e-06 in one observation; an alert takes 1e-04 in two of three"),
        (told(kind="block", block_usd=22_496.4), "no alert, unranked",
         "prints are measured, not scored: block_premium_usd 22,496"),
        (told(kind="crossed", best_p=0.5), "no alert, unranked",
         "p 5.00e-01 at its least; an alert takes 1e-04 in two of three observations"),
    ],
)  # fmt: skip
def test_why_there_was_no_alert(one, said, how):
    if one.best_p == 2e-6:
        one.hits[0, "spike"] = one.hits[1, "spike"] = 1  # twice, but no listing more than once
    assert in_words(one, P_ON) == (said, how)
    if one.best_p == 2e-6:
        one.hits[0, "spike"] = 3
        assert "in 3 observations" in in_words(one, P_ON)[1]


def test_an_alert_is_told_with_its_list_its_scope_and_its_strongest_driver():
    scans = Scans(len(LISTINGS))
    scans.p_feature[9, 0], scans.z[9, 0] = 1e-7, -8.12
    (alert,) = opened(book_of(), scans)
    one = told(best_rank=1, alerts=[alert, alert], after_s=1.6)
    said, how = in_words(one, P_ON)
    assert said == "ALERT after 2 s, rank 1 at best"
    assert how == (
        "spike alert of BTC 27MAR26 90000 C, the first of 2: "
        "liquidity 100%, log_depth over 60 s z -8.1"
    )
    assert record_of(one, P_ON) | {"said": ""} == {
        "event": "pull", "venues": ("deribit",), "target": "BTC 27MAR26 90000 C", "start_ns": T0,
        "end_ns": T0 + SECOND, "found": True, "after_s": 1.6, "list": "spike",
        "scope": alert.scope, "alerts": 2, "best_rank": 1, "best_p": 1.0, "hits": 0,
        "crossed_s": None, "said": "",
    }  # fmt: skip
    bare = told(alerts=[an_alert()])
    assert in_words(bare, P_ON)[1].endswith("C: its members together")


def test_where_an_event_was_says_which_way_a_cross_or_a_lead_goes():
    five = ("okx", "deribit", "binance", "bybit", "derive")
    assert where(told(kind="crossed", venues=("okx", "bybit"))) == "okx > bybit"
    assert where(told(kind="lead", venues=five)) == "okx, then 4 more"
    assert where(told(venues=five[:3])) == "okx deribit binance"


def test_the_page_says_what_is_planted_and_when_the_first_event_is():
    hand = Hand(truth(), truth("block", start=15, end=16), lag_s=1.0)
    notes = {second: hand.witness.note(T0 + second * SECOND) for second in (8, 11, 16)}
    assert notes == {
        8: "a quiet market; the first event is planted in 3 s",
        11: "planted 0 s ago: pull, BTC 27MAR26 90000 C on deribit",
        16: "planted 0 s ago: block, BTC 27MAR26 90000 C on deribit",
    }
    assert Witness(None, P_ON).note(T0) == ""


def test_the_closing_table_fits_a_hundred_columns_and_says_everything():
    witness = Witness(None, P_ON)
    odd = option("deribit", strike=123_456, right="P")
    (alert,) = opened(book_of(), Scans(len(LISTINGS)))
    witness.sightings = [
        told(kind="dislocation", target=f"{odd.underlying} 27MAR26 123456 P", best_rank=40,
             venues=("deribit", "binance", "okx"), best_p=1e-4),
        told(kind="sweep", trades=12_345, flow_30s=-1234.5),
        told(kind="crossed", venues=("binance", "deribit"), crossed_s=(0.0, 59.0), edge=0.1234),
        told(alerts=[alert] * 100, after_s=29.0),
        replace(told(), began_ns=0),
    ]  # fmt: skip
    witness.lag_ns = 20 * SECOND
    counts = {"events": 1, "scans": 2, "listings": 3, "alerts": {"spike": 4, "group": 1}}
    lines = list(closing_words(witness, P_ON, counts, 7))
    assert [line for line in lines if len(line) > 100] == []
    assert "  12:00:00 dislocation BTC 27MAR26 123456 P deribit binance okx    no alert" in lines[2]
    assert lines[10].startswith("  --:--:-- pull")
    assert "  1 events, 2 scans of 3 listings, 5 alerts; seed 7" in lines
    assert any("20 s behind the clock" in line for line in lines)
    witness.lag_ns = 2 * SECOND
    assert not any("behind" in line for line in closing_words(witness, P_ON, counts, 7))
    witness.sightings = []
    assert list(closing_words(witness, P_ON, counts, 7))[1].startswith("nothing was planted")


def test_the_fullest_page_has_crosses_first_and_then_the_most_alerts(monkeypatch):
    def model(crossed_count, open_count):
        alerts = [SimpleNamespace(open=True)] * open_count + [SimpleNamespace(open=False)] * 7
        return ViewModel(
            T0, 1, 1, 1, Rates(), (), alerts=tuple(alerts),
            across=Across(9, 9, 0, crossed_count),
        )  # fmt: skip

    pages = [model(*page) for page in ((0, 5), (2, 1), (1, 3), (9, 3), (0, 9))]
    waiting = iter(pages)
    monkeypatch.setattr(live, "picture_of", lambda _: next(waiting))
    shown = live.Shown(SimpleNamespace(show=lambda _: None))
    for second in range(len(pages)):
        result = Scans(len(LISTINGS)).at(second)
        shown.on_scan(SimpleNamespace(pipeline=SimpleNamespace(last_scan=result)), [])
    assert shown.fullest == pages[2]


# The engine itself


def test_of_the_schedule_pulls_become_alerts_and_prints_are_measured(capsys):
    """Deribit's rows from the demonstration's baselines, at the default thresholds."""
    start_ns = 1_790_924_400 * SECOND
    simulation = simulate_rows(1, start_ns, 45)
    config = ScanConfig()
    pipeline = Pipeline(config)
    pipeline.scanner.add(simulation.listings)
    names = {place: name for name, place in emulated_names(simulation.listings).items()}
    checkpoint = load(CHECKPOINT)
    checkpoint.renamed(names).into(pipeline.scanner, start_ns)
    market = simulation.market
    plants = demo_schedule(market.universe, market.books, start_ns - 15 * SECOND)
    truths = [msgspec.structs.asdict(market.planter.add(plant)) for plant in plants]
    witness = Witness(None, config.scoring.p_on)
    by_key = {f"{x.venue}:{x.symbol}": x for x in simulation.listings}
    witness.watch(truths, by_key)
    run = SimpleNamespace(pipeline=pipeline, sessions=("deribit",))
    for now_ns, rows, tickers in simulation:
        pipeline.apply(rows, tickers)
        witness.on_scan(run, pipeline.scan(now_ns))
    capsys.readouterr()
    found = {one.kind if len(one.keys) == 1 else "slice": one for one in witness.sightings}
    assert set(found) == {"sweep", "slice", "dislocation", "block", "pull"}
    assert found["slice"].alerts
    assert found["slice"].after_s <= 3.0
    for kind in ("slice", "pull"):
        assert found[kind].best_rank == 1
        assert found[kind].best_p <= config.scoring.p_on
    assert found["sweep"].trades > 10
    assert found["sweep"].flow_30s > 0.0  # it buys
    assert found["block"].block_usd > 1_000.0
    # One observation sees the quotes jump, which is not two of three.
    assert found["dislocation"].best_p < 0.01
    assert not found["dislocation"].alerts
