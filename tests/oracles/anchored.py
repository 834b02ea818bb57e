"""Stage 4 of 8, checked: the flow of an option beyond what a constant volatility would have done.

Follows "Anchored OFI" of docs/SCORING.md section 1. Prices and drifts are in smallest ticks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

NAN = math.nan
DAY_S = 86400.0
ELAPSED_MAX_S = 36000.0
BAND_STEPS = 1.5
FORWARD_JUMP = 0.01

Top = tuple[tuple[int, float], tuple[int, float]]  # ((bid, its size), (ask, its size))


class Held(NamedTuple):
    """What a listing's tickers had said by the end of a tick; NaN is unknown."""

    at_ns: int
    forward: float
    delta: float
    theta: float


@dataclass(frozen=True)
class Anchor:
    """A price of one side, and how far a price of its volatility has moved since."""

    price: int = 0
    drift: float = NAN


class PriceGrid:
    """The step of a listing's prices: what its makers can tell apart."""

    def __init__(self, static: Mapping[str, Any]) -> None:
        tick, table = float(static["tick"]), tuple(static.get("tick_table", ()))
        self.threshold = table[0][0] / tick if table else math.inf
        # The quotient of two decimals such as 0.0005 and 0.0001 need not be the whole number.
        self.coarsest = round(max(one for _, one in table) / tick, 6) if table else 1.0

    def step(self, ticks: float) -> float:
        """In smallest ticks, at a price in smallest ticks."""
        return self.coarsest if ticks >= self.threshold - 1e-6 else 1.0


class Anchors:
    """Both sides' anchors of one option."""

    def __init__(self, static: Mapping[str, Any]) -> None:
        self.tick = float(static["tick"])
        self.price_per = float(static["price_per"])
        self.inverse = bool(static["inverse"])
        self.grid = PriceGrid(static)
        self.bid, self.ask = Anchor(), Anchor()
        self.held: Held | None = None

    def roll(self, now: Held) -> None:
        """A tick's tickers have come: both drifts follow forward and time."""
        before, self.held = self.held, now
        self.bid = self._rolled(self.bid, before, now)
        self.ask = self._rolled(self.ask, before, now)

    def _rolled(self, anchor: Anchor, before: Held | None, now: Held) -> Anchor:
        if before is None:
            return Anchor(anchor.price, NAN)
        forward_move = now.forward - before.forward
        if abs(forward_move) > FORWARD_JUMP * before.forward:
            return Anchor(anchor.price, NAN)
        # What is unknown is NaN and makes the sum so.
        days = min(max((now.at_ns - before.at_ns) / 10**9, 0.0), ELAPSED_MAX_S) / DAY_S
        usd = (before.delta + now.delta) / 2 * forward_move
        usd += (before.theta + now.theta) / 2 * days
        drift = anchor.drift
        if self.inverse:
            coin = usd * self.price_per / (self.tick * now.forward)
            drift += coin - (anchor.price + anchor.drift) * forward_move / now.forward
        else:
            drift += usd * self.price_per / self.tick
        return Anchor(anchor.price, drift)

    def update(self, old: Top | None, new: Top | None) -> float | None:
        """The event of an update, None where there is none; a top is None if not regular."""
        if new is None:
            return None
        (bid, qb), (ask, qa) = new
        if old is None or math.isnan(self.bid.drift) or math.isnan(self.ask.drift):
            self.bid, self.ask = self._anchored(bid), self._anchored(ask)
            return None
        (_, qb_old), (_, qa_old) = old
        bid_moved, ask_moved = self._moved(self.bid, bid), self._moved(self.ask, ask)
        if bid_moved:
            self.bid = self._anchored(bid)
        if ask_moved:
            self.ask = self._anchored(ask)
        return (
            (qb if bid_moved >= 0 else 0.0)
            - (qb_old if bid_moved <= 0 else 0.0)
            - (qa if ask_moved <= 0 else 0.0)
            + (qa_old if ask_moved >= 0 else 0.0)
        )

    def _anchored(self, price: int) -> Anchor:
        """Anchor at a price; its drift is known only with forward, delta and theta."""
        held = self.held
        known = held is not None and not math.isnan(held.forward + held.delta + held.theta)
        return Anchor(price, 0.0 if known else NAN)

    def _moved(self, anchor: Anchor, price: int) -> int:
        """+1 the side rose beyond its drift, -1 it fell, 0 it stood."""
        beyond = (price - anchor.price) - anchor.drift
        band = BAND_STEPS * max(self.grid.step(price), self.grid.step(anchor.price))
        return int(beyond > band) - int(beyond < -band)
