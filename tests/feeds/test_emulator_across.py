"""Events across venues: a pair that crosses, a venue that leads, and what is refused."""

from typing import Any

import numpy as np
import pytest

from feeds.contract import E9, ListingKind
from feeds.emulator.across import PlantRequest, plant
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


def test_nothing_crosses_where_nothing_is_planted() -> None:
    """All contracts of all venues, in cash, while half a minute goes by."""
    markets = {name: Market(3, START_NS, 400, profile=PROFILES[name]) for name in PROFILES}
    crossed, shared = [], 0
    for _ in range(30):
        step(markets, 1.0)
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
        crossed += [name for name, bid in bids.items() if bid > asks[name]]
        shared = len(bids)
    assert shared > 400
    assert crossed == []


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
