"""Events across venues: a pair that crosses, a venue that leads, and what is refused."""

from typing import Any

import numpy as np
import pytest

from feeds.contract import E9, ListingKind
from feeds.emulator import across
from feeds.emulator.across import PlantRequest, plant, plant_demo
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.errors import SymbolError
from tests.feeds.emulator_client import START_NS, Venue

CONTRACT = "BTC-20260922T0800Z-60000-C"
SLICE = "ETH-20260922T0800Z"


def venues(*names: str) -> dict[str, Market]:
    return {name: Market(7, START_NS, 400, profile=PROFILES[name]) for name in names}


def step(markets: dict[str, Market], seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        for market in markets.values():
            market.step()


def best_usd(market: Market, target: str) -> tuple[float, float]:
    """Best bid and ask of a contract in cash, USD; NaN for an empty side."""
    (number,) = market.universe.options_of(target)
    ids = np.array([number])
    bid, ask = market.books.prices(ids, market.books.ticks[ids, :, 0])[0]
    if market.universe.inverse[number]:
        index = market.prices.spot[market.universe.underlying[number]]
        bid, ask = bid * index, ask * index
    return float(bid), float(ask)


def mean_iv(market: Market) -> float:
    """Mean mid volatility of the slice's two-sided options of the busiest class."""
    ids = market.universe.options_of(SLICE)
    rows = market.tickers(ids[market.universe.activity[ids] <= 1])
    return float(np.nanmean(0.5 * (rows["iv_bid"] + rows["iv_ask"])))


def crossed_contracts(markets: dict[str, Market]) -> tuple[set[str], int]:
    """Contracts whose best bid stands above their best ask, in cash; and how many there are."""
    bids: dict[str, float] = {}
    asks: dict[str, float] = {}
    for market in markets.values():
        universe = market.universe
        ids = np.flatnonzero((universe.kind == ListingKind.OPTION) & (market.state == 1))
        best = market.books.prices(ids, market.books.ticks[ids, :, 0])
        index = market.prices.spot[universe.underlying[ids]]
        cash = best * np.where(universe.inverse[ids], index, 1.0)[:, None]
        for number, (bid, ask) in zip(ids.tolist(), cash.tolist(), strict=True):
            name = str(universe.listings[number].contract)
            bids[name] = np.fmax(bids.get(name, np.nan), bid)
            asks[name] = np.fmin(asks.get(name, np.nan), ask)
    return {name for name, bid in bids.items() if bid > asks[name]}, len(bids)


def test_nothing_crosses_where_nothing_is_planted() -> None:
    """All contracts of all venues while half a minute goes by."""
    markets = venues(*PROFILES)
    count = 0
    for _ in range(30):
        step(markets, 1.0)
        crossed, count = crossed_contracts(markets)
        assert crossed == set()
    assert count > 400


@pytest.mark.parametrize("side", [1, -1])
def test_a_crossed_pair_crosses_for_its_time_and_in_its_direction(side: int) -> None:
    markets = venues("deribit", "okx", "bybit")
    asked = PlantRequest(
        "crossed", CONTRACT, in_s=1.0, duration_s=5.0, side=side, against="bybit"  # type: ignore[arg-type]
    )  # fmt: skip
    up, down = plant(markets, "okx", asked)
    assert (up.venue, up.side, down.venue, down.side) == ("okx", side, "bybit", -side)
    assert up.event == down.event == "E5"
    assert up.symbols == ("BTC-USD-260922-60000-C",)
    assert (up.start_ns, up.end_ns) == (START_NS + E9, START_NS + 6 * E9)
    high, low = ("okx", "bybit") if side > 0 else ("bybit", "okx")

    def edge() -> float:
        return best_usd(markets[high], CONTRACT)[0] - best_usd(markets[low], CONTRACT)[1]

    step(markets, 0.9)
    assert edge() < 0.0
    for _ in range(8):
        step(markets, 0.5)
        assert edge() > 0.0
        own = [best_usd(market, CONTRACT) for market in markets.values()]
        assert all(bid < ask for bid, ask in own)  # No venue is crossed in itself.
    step(markets, 1.5)
    assert edge() < 0.0


def test_a_lead_moves_one_venue_first_and_the_others_follow() -> None:
    markets = venues("deribit", "okx", "bybit", "delta")
    calm = venues("deribit", "okx", "bybit")
    asked = PlantRequest("lead", f"okx:{SLICE}", duration_s=10.0, intensity=6.0, follow_s=4.0)
    truths = plant(markets, "deribit", asked)
    # Delta has no such contract: it expires at another hour.
    assert [truth.venue for truth in truths] == ["okx", "deribit", "bybit"]
    assert {truth.event for truth in truths} == {"E10"}
    assert [truth.start_ns - START_NS for truth in truths] == [0, 4 * E9, 4 * E9]
    assert {truth.end_ns for truth in truths} == {START_NS + 10 * E9}

    all_of_them = markets | {f"calm {name}": market for name, market in calm.items()}

    def moved() -> dict[str, float]:
        return {name: mean_iv(markets[name]) - mean_iv(calm[name]) for name in calm}

    step(all_of_them, 2.0)
    early = moved()
    assert early["okx"] == pytest.approx(0.06, abs=0.02)
    assert max(abs(early["deribit"]), abs(early["bybit"])) < 0.02
    step(all_of_them, 4.0)
    assert all(shift == pytest.approx(0.06, abs=0.02) for shift in moved().values())
    step(all_of_them, 5.0)
    assert all(abs(shift) < 0.02 for shift in moved().values())


def test_targets_name_their_venue_by_symbol_or_in_canonical_text() -> None:
    markets = venues("deribit", "delta")
    (own,) = plant(markets, "deribit", PlantRequest("pull", "BTC-22SEP26-60000-C"))
    (same,) = plant(markets, "deribit", PlantRequest("pull", CONTRACT))
    assert own.symbols == same.symbols == ("BTC-22SEP26-60000-C",)
    (other,) = plant(markets, "deribit", PlantRequest("pull", "delta:C-BTC-60000-220926"))
    assert (other.venue, other.symbols) == ("delta", ("C-BTC-60000-220926",))
    (of_slice,) = plant(markets, "deribit", PlantRequest("pull", "delta:BTC-20260922T1200Z"))
    assert len(of_slice.symbols) == len(markets["delta"].universe.options_of("BTC-20260922T1200Z"))
    assert all(s.startswith(("C-BTC-", "P-BTC-")) for s in of_slice.symbols)
    assert len(markets["deribit"].planter.truth) == len(markets["delta"].planter.truth) == 2


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (PlantRequest("pull", "gate:X"), "venue was 'gate'"),
        (PlantRequest("crossed", CONTRACT), "against was ''"),
        (PlantRequest("crossed", CONTRACT, against="deribit"), "against was 'deribit'"),
        (PlantRequest("crossed", CONTRACT, against="okx", side=0), "side 0"),
        (PlantRequest("crossed", CONTRACT, against="delta"), "a contract on delta"),
        (PlantRequest("crossed", "BTC-20260922T0800Z", against="okx"), "a contract on deribit"),
        (PlantRequest("lead", "BTC-20260101T0800Z"), "0 venues follow"),
        (PlantRequest("lead", SLICE, follow_s=20.0), "below 15.0 s"),
        (PlantRequest("lead", SLICE, side=0), "side 0"),
    ],
)
def test_what_cannot_be_planted_is_refused_and_plants_nothing(
    asked: PlantRequest, says: str
) -> None:
    markets = venues("deribit", "okx", "delta")
    with pytest.raises(SymbolError, match=says):
        plant(markets, "deribit", asked)
    assert not any(market.planter.truth for market in markets.values())


def test_the_demonstration_tells_what_it_plants_on_which_venue_and_when() -> None:
    markets = venues("deribit", "okx", "bybit", "derive", "delta")
    truths = plant_demo(markets, "deribit", 2.0)
    found = [
        (truth.kind, truth.venue, (truth.start_ns - START_NS) / E9 - 2.0, truth.symbols)
        for truth in truths
    ]
    assert [one[:3] for one in found] == [
        ("sweep", "deribit", 20.0), ("pull", "deribit", 24.0), ("dislocation", "deribit", 27.0),
        ("block", "deribit", 30.0), ("pull", "deribit", 32.0), ("pull", "okx", 25.0),
        ("pull", "bybit", 26.0), ("crossed", "okx", 35.0), ("crossed", "bybit", 35.0),
        ("lead", "okx", 40.0), ("lead", "deribit", 43.0), ("lead", "bybit", 43.0),
        ("lead", "derive", 43.0),
    ]  # fmt: skip
    assert max(truth.end_ns for truth in truths) == START_NS + 54 * E9
    assert len({truth.target for truth in truths}) == 7  # one an event, whatever the venue
    # Whom the schedule of one venue touches, the others leave alone.
    contracts = {
        kind: {str(markets[v].universe.listings[markets[v].universe.ids[s]].contract)
               for k, v, _, symbols in found for s in symbols if k == kind}
        for kind in ("sweep", "pull", "dislocation", "block", "crossed", "lead")
    }  # fmt: skip
    every = [name for names in contracts.values() for name in names]
    assert len(every) == len(set(every))
    assert len(contracts["crossed"]) == 1


def test_what_crosses_in_the_demonstration_was_planted() -> None:
    markets = venues("deribit", "binance", "okx", "bybit", "derive", "delta")
    truths = plant_demo(markets, "deribit", 0.0)
    told: dict[str, set[str]] = {}
    for truth in truths:
        universe = markets[truth.venue].universe
        names = {str(universe.listings[universe.ids[s]].contract) for s in truth.symbols}
        told.setdefault(truth.kind, set()).update(names)
    (pair,) = told["crossed"]
    seen: dict[int, set[str]] = {}
    for second in range(1, 61):
        step(markets, 1.0)
        seen[second] = crossed_contracts(markets)[0]
    assert all(not seen[second] for second in (*range(1, 20), *range(54, 61)))
    assert all(pair in seen[second] for second in range(36, 45))
    assert all(pair not in seen[second] for second in (*range(1, 35), *range(47, 61)))
    moved = told["crossed"] | told["dislocation"] | told["lead"] | told["sweep"]
    assert set().union(*seen.values()) <= moved
    led = {name for second in (41, 42, 43) for name in seen[second]} & told["lead"]
    assert len(led) > 3  # the leader's bids stand above the asks of those who do not know yet


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (("deribit",), ["sweep", "pull", "dislocation", "block", "pull"]),
        (("deribit", "delta"), ["sweep", "pull", "dislocation", "block", "pull"]),
        (("deribit", "okx"), ["sweep", "pull", "dislocation", "block", "pull", "pull", "lead",
                              "lead"]),
        (("deribit", "bybit"), ["sweep", "pull", "dislocation", "block", "pull", "pull"]),
        (("okx", "delta"), ["sweep", "pull", "dislocation", "block", "pull"]),
    ],
)  # fmt: skip
def test_the_demonstration_leaves_out_what_its_venues_cannot_show(
    names: tuple[str, ...], kinds: list[str]
) -> None:
    assert [truth.kind for truth in plant_demo(venues(*names), names[0], 0.0)] == kinds


def test_the_pair_that_crosses_is_the_nearest_to_the_money_that_is_free_and_quoted() -> None:
    """Strikes about the spot in 500s; what a plant took, or has a side empty, is passed over."""
    markets = venues("okx", "bybit")
    okx, bybit = markets.values()
    spot = float(okx.prices.spot[0])

    def chosen(*taken: str) -> str:
        return across._shared_contract(okx, bybit, 2, taken)

    def strike(name: str) -> float:
        return float(name.split("-")[2])

    first = chosen()
    assert first.startswith("BTC-20260924T0800Z-")
    strikes = okx.universe.strike[okx.universe.options_of("BTC-20260924T0800Z")]
    assert abs(strike(first) - spot) == np.abs(strikes - spot).min()
    second = chosen(first)
    assert second != first
    assert strike(second) == strike(first)  # the other right
    for market in (bybit, okx):
        (number,) = market.universe.options_of(first)
        market.books.lots[number, 1, 0] = 0
        assert chosen() == second
        market.books.lots[number, 1, 0] = 5
        assert chosen() == first


async def test_the_control_of_one_venue_plants_on_another() -> None:
    async with Venue(options=400) as venue:
        other = Market(7, START_NS, 400, profile=PROFILES["okx"])
        venue.server.peers = {"deribit": venue.market, "okx": other}
        ask: dict[str, Any] = {"kind": "crossed", "target": CONTRACT, "against": "okx"}
        here, there = await venue.post("/emulator/plant", ask)
        assert (here["venue"], there["venue"]) == ("deribit", "okx")
        assert await venue.get("/emulator/truth") == [here]
        assert len(other.planter.truth) == 1
        assert "error" in await venue.post("/emulator/plant", ask | {"against": "gate"})
        marked = await venue.post("/emulator/mark", {"in_s": 1.0})
        assert [one["venue"] for one in marked] == ["deribit"] * 5 + ["okx", "okx", "deribit"]
        assert marked[0]["start_ns"] == venue.market.now_ns + 21 * E9
