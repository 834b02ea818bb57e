"""Stages 4 and 5 of 8, checked: the state of one listing and its metrics, in plain float64.

Follows docs/SCORING.md sections 1 and 2 line by line and shares no code with the kernels; even
the constants of the event vocabulary are written down again here. Where the text leaves a
choice, the comment at the place says which one was taken.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.oracles.anchored import Anchors, Held, Top
from tests.oracles.book import ASK, BID, DictionaryBook
from tests.oracles.liquidity import depth_near

QUOTE, BOOK_SNAPSHOT, BOOK_DELTA, TRADE, CLEAR, STATE_CHANGE = 1, 2, 3, 4, 5, 6
BOOK_GIVEN_BACK = 1
LAST, SNAPSHOT_START, REJECTED, BLOCK, COMBO_LEG, RFQ = 1, 2, 4, 8, 16, 32
LIVE, HALTED, EXPIRED_STATE = 1, 2, 3

NO_BID, NO_ASK, LOCKED, CROSSED, ZERO_SIZE = 1, 2, 4, 8, 32
EXPIRED, GAP, SETTLING, TRUNCATED, NO_STATE = 128, 256, 4096, 8192, 16384

HALF_LIVES_S = (1, 5, 30, 300)
USED_LEVELS = 10
HIDING_TICK_VOL = 1.5  # A larger tick, in vol points, hides what volatility does.
CAPACITY = 32
NAN = math.nan

Levels = tuple[tuple[int, float], ...]  # (price in ticks, native size), best first


def seconds(later_ns: int, earlier_ns: int) -> float:
    return (later_ns - earlier_ns) / 10**9  # A product with 1e-9 would miss whole seconds.


def decay(x_s: float, half_life_s: float) -> float:
    """`2**(-x/h)`, x clamped to [0, 36000] s."""
    return float(2.0 ** (-min(max(x_s, 0.0), 36000.0) / half_life_s))


class Row(NamedTuple):
    """The fields of an event row, in the order of the packed dtype, as Python numbers."""

    rx_ns: int
    ex_ns: int
    seq: int
    price: float
    size: float
    listing_id: int
    kind: int
    side: int
    flags: int
    level: int
    aux: int

    @classmethod
    def of(cls, row: Any) -> "Row":
        """From a tuple in field order, a mapping, or one element of a structured array."""
        if isinstance(row, tuple):
            return cls(*row)
        real = ("price", "size")
        values: list[Any] = [
            float(row[name]) if name in real else int(row[name]) for name in cls._fields
        ]
        return cls(*values)


@dataclass
class DecayedSum:
    """`S <- S d + x`, kept at the time of the last addition."""

    half_life_s: float
    value: float = 0.0
    at_ns: int = 0

    def add(self, now_ns: int, x: float) -> None:
        self.value = self.read(now_ns) + x
        self.at_ns = now_ns

    def read(self, now_ns: int) -> float:
        return self.value * decay(seconds(now_ns, self.at_ns), self.half_life_s)


@dataclass
class TimeWeightedMean:
    """Mean over time of a value that stood still between updates; half-life 300 s."""

    weighted: float = 0.0
    weight: float = 0.0

    def stepped(self, x: float, stood_s: float) -> "TimeWeightedMean":
        d = decay(stood_s, 300)
        return TimeWeightedMean(self.weighted * d + x * (1 - d), self.weight * d + (1 - d))

    def read(self, current: float) -> float:
        return self.weighted / self.weight if self.weight > 0 else current


@dataclass(frozen=True)
class State:
    """A listing between two updates: used book, stored validity bits, when it began."""

    bids: Levels = ()
    asks: Levels = ()
    bits: int = NO_STATE
    since_ns: int = 0
    ex_ns: int = 0

    @property
    def known(self) -> bool:
        return not self.bits & (GAP | EXPIRED | NO_STATE)

    @property
    def two_sided(self) -> bool:
        return bool(self.bids) and bool(self.asks) and self.known

    @property
    def regular(self) -> bool:
        return self.two_sided and self.bids[0][0] < self.asks[0][0]

    @property
    def spread(self) -> float:
        return float(self.asks[0][0] - self.bids[0][0])

    @property
    def top_depth(self) -> float:
        return (self.bids[0][1] + self.asks[0][1]) / 2

    @property
    def top(self) -> Top | None:
        """Best bid and ask; None where the state is not regular."""
        return (self.bids[0], self.asks[0]) if self.regular else None

    @property
    def mid(self) -> float:
        """In ticks."""
        return (self.bids[0][0] + self.asks[0][0]) / 2


def event_ofi(old: State, new: State, level: int) -> float | None:
    """`e` of one level (0 is the top) between two states; None where the pair is broken."""
    sides = (old.bids, old.asks, new.bids, new.asks)
    if not (old.known and new.known and all(len(side) > level for side in sides)):
        return None
    (pb0, qb0), (pa0, qa0), (pb, qb), (pa, qa) = (side[level] for side in sides)
    return (
        (qb if pb >= pb0 else 0.0)
        - (qb0 if pb <= pb0 else 0.0)
        - (qa if pa <= pa0 else 0.0)
        + (qa0 if pa >= pa0 else 0.0)
    )


def is_reduction(old: State, new: State) -> bool:
    """The top lost something: bid fell, ask rose, or a size fell at an unchanged price."""
    if not (old.two_sided and new.two_sided):
        return False
    (pb0, qb0), (pa0, qa0), (pb, qb), (pa, qa) = (
        side[0] for side in (old.bids, old.asks, new.bids, new.asks)
    )
    return pb < pb0 or pa > pa0 or (pb == pb0 and qb < qb0) or (pa == pa0 and qa < qa0)


class OracleListing:
    """One listing: event rows in, validity, order flow and metrics out.

    static: tick, multiplier, price_per, inverse, is_option, expiry_ns, settle_window_s,
    underlying, listing_id; and, where there are any, strike and tick_table, which is
    ((above_price, tick), ...) beyond the smallest tick. Neither need be given.
    """

    def __init__(self, static: Mapping[str, Any]) -> None:
        self.static = dict(static)
        self.listing_id = int(static["listing_id"])
        self.pending: list[Row] = []
        self.state = State()
        self.state_before = State()
        self.book: DictionaryBook[int] = DictionaryBook(CAPACITY)
        self.quoted: dict[int, tuple[float, float]] = {BID: (NAN, NAN), ASK: (NAN, NAN)}
        self.has_state = self.has_depth = self.gap = self.halted = self.expired = False
        self.fresh = False
        self.changed_ns: int | None = None
        self.ignored_quotes = self.rejected_rows = 0
        self.bar = [0.0] * USED_LEVELS
        self.bar_began_with_state = False
        self.buying = {h: DecayedSum(h) for h in HALF_LIVES_S}  # P_h, positive order flow
        self.selling = {h: DecayedSum(h) for h in HALF_LIVES_S}  # N_h
        self.anchors = Anchors(static) if static["is_option"] else None
        self.iv_buying = {h: DecayedSum(h) for h in HALF_LIVES_S}  # P_h of the anchored flow
        self.iv_selling = {h: DecayedSum(h) for h in HALF_LIVES_S}
        self.bought = {h: DecayedSum(h) for h in HALF_LIVES_S}  # B_h, aggressive buys
        self.sold = {h: DecayedSum(h) for h in HALF_LIVES_S}  # S_h
        self.mean_spread, self.mean_depth = TimeWeightedMean(), TimeWeightedMean()
        names = ("trades", "contracts", "premium", "updates", "reductions", "block_premium")
        self.counts = {name: DecayedSum(300) for name in names}
        self.trade_price: int | None = None
        self.aggressor = 0
        self.sides_by_rule = self.sides_unknown = 0
        self.tick_values: dict[str, float] = {}
        self.ticker_ns = 0  # of the last ticker
        self.pressure = NAN  # written by the scanner at each observation
        self.liquidity_class = NAN  # written by the scanner, which alone sees all listings

    # --- rows -----------------------------------------------------------------------------

    def apply(self, rows: Iterable[Any]) -> None:
        """Take rows in order; rows after the last LAST wait for the next call."""
        for raw in rows:
            row = Row.of(raw)
            if row.flags & REJECTED:
                self.rejected_rows += 1
                continue
            self.pending.append(row)
            if row.flags & LAST:
                update, self.pending = self.pending, []
                self._close(update)

    def ticker(self, row: Any) -> None:
        """Keep what is a number; NaN is no news. After the last of a tick comes `roll`."""
        self.ticker_ns = int(row["rx_ns"])
        for name in ("delta", "vega", "theta", "iv_mark", "forward", "index", "open_interest"):
            value = float(row[name])
            if not math.isnan(value):
                self.tick_values[name] = value

    def roll(self) -> None:
        """Move the anchors once for all of a tick's tickers, before the rows of the tick."""
        if self.anchors is not None:
            held = (self.tick_values.get(name, NAN) for name in ("forward", "delta", "theta"))
            self.anchors.roll(Held(self.ticker_ns, *held))

    def advance(self, grid_ns: int) -> bool:
        """Let a grid time pass; True where it is the one that made the listing expire."""
        expiry_ns = self.static["expiry_ns"]
        if self.expired or expiry_ns is None or grid_ns < expiry_ns:
            return False
        self.expired = True
        self.state = replace(self.state, bits=self.state.bits | EXPIRED)
        return True

    def _close(self, rows: list[Row]) -> None:
        """One atomic update; its times are those of its last row."""
        t, ex_ns = rows[-1].rx_ns, rows[-1].ex_ns
        changes = [row for row in rows if row.kind != TRADE]
        # Trades are judged by the states before their update, should an update hold both.
        for row in rows:
            if row.kind == TRADE:
                self._trade(row, t)
        accepted = [self._change(row) for row in changes]
        if any(accepted):
            booked = any(
                ok and row.kind in (QUOTE, BOOK_SNAPSHOT, BOOK_DELTA)
                for ok, row in zip(accepted, changes, strict=True)
            )
            cleared = any(row.kind == CLEAR for row in changes)
            self._evaluate(t, ex_ns, booked, cleared)

    def _change(self, row: Row) -> bool:
        """Apply one row to the raw state; False where it is ignored."""
        if row.kind == QUOTE:
            return self._quote(row)
        if row.kind in (BOOK_SNAPSHOT, BOOK_DELTA):
            self._book(row)
        elif row.kind == CLEAR:
            self.has_depth = self.has_depth and row.level != BOOK_GIVEN_BACK
            if not self.has_state:
                return False
            self.gap = True
            self.book.clear()
            self.quoted = {BID: (NAN, NAN), ASK: (NAN, NAN)}
        elif row.level == HALTED:
            self.halted = True
        elif row.level == EXPIRED_STATE:
            self.expired = True
        elif row.level == LIVE:
            self.halted = False
        return True

    def _quote(self, row: Row) -> bool:
        if self.has_depth:
            self.ignored_quotes += 1
            return False
        self.quoted[row.side] = (row.price, row.size)
        self.has_state, self.gap = True, False
        return True

    def _book(self, row: Row) -> None:
        self.has_state = self.has_depth = True
        if row.kind == BOOK_SNAPSHOT and row.flags & SNAPSHOT_START:
            self.book.clear()
            self.gap = False
        if row.kind == BOOK_DELTA and self.gap:
            return
        if not math.isnan(row.price):  # A snapshot row without a price is an empty snapshot.
            self.book.set(row.side, self.ticks(row.price), row.size)

    def ticks(self, price: float) -> int:
        return round(price / float(self.static["tick"]))

    # --- one update -----------------------------------------------------------------------

    def _evaluate(self, t: int, ex_ns: int, booked: bool, cleared: bool) -> None:
        old = self.state
        new = self._observe(t, ex_ns)
        # A gap inside the update breaks the pair even where a snapshot closed it again.
        pair_old = replace(old, bits=old.bits | GAP) if cleared else old
        if old.regular:
            stood_s = seconds(t, old.since_ns)
            self.mean_spread = self.mean_spread.stepped(old.spread, stood_s)
            self.mean_depth = self.mean_depth.stepped(old.top_depth, stood_s)
        for level in range(USED_LEVELS if self.has_depth else 1):
            e = event_ofi(pair_old, new, level)
            self.bar[level] += e or 0.0
        self._flow(t, pair_old, new)
        if booked:
            self.counts["updates"].add(t, 1)
        if is_reduction(pair_old, new):
            self.counts["reductions"].add(t, 1)
        moved = (old.bids, old.asks) != (new.bids, new.asks)
        if moved:
            self.changed_ns = t
        self.fresh |= moved or old.bits != new.bits
        self.state_before, self.state = old, new

    def _flow(self, t: int, old: State, new: State) -> None:
        """Both decayed kinds of order flow, which share the time of their last event.

        An update is here what `_change` accepted: trades and ignored rows are no events, not
        even where the drift has left the band meanwhile.
        """
        anchored = self.anchors.update(old.top, new.top) if self.anchors is not None else None
        e = event_ofi(old, new, 0)
        if e is None or not (old.regular and new.regular):
            return
        for h in HALF_LIVES_S:
            self.buying[h].add(t, max(e, 0.0))
            self.selling[h].add(t, max(-e, 0.0))
            self.iv_buying[h].add(t, max(anchored or 0.0, 0.0))
            self.iv_selling[h].add(t, max(-(anchored or 0.0), 0.0))

    def _observe(self, t: int, ex_ns: int) -> State:
        """The state the raw rows amount to; SETTLING depends on the time and is not stored."""
        # GAP by truncation is judged after the update and stands until the next snapshot.
        for side in (BID, ASK):
            if self.book.truncated[side] and len(self.book.sides[side]) < USED_LEVELS:
                self.gap = True
        bits = (EXPIRED if self.halted or self.expired else 0) | (GAP if self.gap else 0)
        if not self.has_state:
            return State(bits=bits | NO_STATE, since_ns=t, ex_ns=ex_ns)
        sides: dict[int, Levels] = {}
        for side in (BID, ASK):
            if self.has_depth:
                sides[side] = tuple(self.book.levels(side, USED_LEVELS))
                continue
            price, size = self.quoted[side]
            there = not math.isnan(price) and size > 0
            sides[side] = ((self.ticks(price), size),) if there else ()
            if not math.isnan(price) and not size > 0:
                bits |= ZERO_SIZE
        bids, asks = sides[BID], sides[ASK]
        bits |= (0 if bids else NO_BID) | (0 if asks else NO_ASK)
        if bids and asks:
            bits |= LOCKED if bids[0][0] == asks[0][0] else 0
            bits |= CROSSED if bids[0][0] > asks[0][0] else 0
        bits |= TRUNCATED if any(self.book.truncated.values()) else 0
        return State(bids, asks, bits, t, ex_ns)

    def _trade(self, row: Row, t: int) -> None:
        if math.isnan(row.price) or not row.size > 0:
            return
        ticks = self.ticks(row.price)
        units = row.size * self.static["multiplier"]
        premium = ticks * self.static["tick"] * units / self.static["price_per"]
        if self.counts_usd:
            premium = units
        if row.flags & (BLOCK | COMBO_LEG | RFQ):
            self.counts["block_premium"].add(t, premium)
            return
        side = row.side
        if side == 0:
            side = self._side_by_rule(row.ex_ns, ticks)
            self.sides_by_rule += side != 0
            self.sides_unknown += side == 0
        self.trade_price, self.aggressor = ticks, side
        if side != 0:
            for h in HALF_LIVES_S:
                (self.bought if side > 0 else self.sold)[h].add(t, row.size)
        self.counts["trades"].add(t, 1)
        self.counts["contracts"].add(t, row.size)
        self.counts["premium"].add(t, premium)

    def _side_by_rule(self, ex_ns: int, ticks: int) -> int:
        """Quote rule, then tick rule; 0 where neither knows."""
        quote: State | None = self.state
        if ex_ns != 0 and not self.state.ex_ns < ex_ns:
            quote = self.state_before if self.state_before.ex_ns < ex_ns else None
        if quote is not None and quote.two_sided and ticks != quote.mid:
            return 1 if ticks > quote.mid else -1
        if self.trade_price is None:
            return 0
        if ticks != self.trade_price:
            return 1 if ticks > self.trade_price else -1
        return self.aggressor

    # --- bars and validity ----------------------------------------------------------------

    def ofi_bar(self, levels: int = USED_LEVELS) -> list[float]:
        """Plain sums since `reset_bar`; whether they mean anything: `bar_began_with_state`."""
        return self.bar[:levels]

    def reset_bar(self) -> None:
        self.bar = [0.0] * USED_LEVELS
        self.bar_began_with_state = self.has_state

    def validity(self, now_ns: int) -> int:
        """Stored bits and those that depend on the time.

        SETTLING runs from `settle_window_s` before the expiry up to the expiry; there EXPIRED
        takes over.
        """
        bits, expiry_ns, window_s = (
            self.state.bits,
            self.static["expiry_ns"],
            self.static["settle_window_s"],
        )
        if expiry_ns is None:
            return bits
        if now_ns >= expiry_ns:
            return bits | EXPIRED
        if self.static["is_option"] and window_s and seconds(expiry_ns, now_ns) <= window_s:
            bits |= SETTLING
        return bits

    def regular(self, now_ns: int) -> bool:
        return self.state.regular and not self.validity(now_ns) & EXPIRED

    def clear_fresh(self) -> None:
        self.fresh = False

    # --- readings at a grid time ----------------------------------------------------------

    def mean_spread_at(self, now_ns: int) -> float:
        """In ticks."""
        if not self.regular(now_ns):
            return self.mean_spread.read(NAN)
        stood_s = seconds(now_ns, self.state.since_ns)
        return self.mean_spread.stepped(self.state.spread, stood_s).read(self.state.spread)

    def mean_depth_at(self, now_ns: int) -> float:
        """Native size."""
        if not self.regular(now_ns):
            return self.mean_depth.read(NAN)
        stood_s = seconds(now_ns, self.state.since_ns)
        return self.mean_depth.stepped(self.state.top_depth, stood_s).read(self.state.top_depth)

    def ofi(self, now_ns: int, h: int) -> float:
        """`OFI_h(T)`, native size."""
        return self.buying[h].read(now_ns) - self.selling[h].read(now_ns)

    def iv_ofi(self, now_ns: int, h: int) -> float:
        """`OFI*_h(T)`, native size."""
        return self.iv_buying[h].read(now_ns) - self.iv_selling[h].read(now_ns)

    def activity_usd(self, now_ns: int) -> float:
        """`a` of the liquidity class; NaN where the row is not ranked."""
        if not self.regular(now_ns):
            return NAN
        strike = self.static.get("strike")
        usd = NAN if strike is None else strike
        for name in ("index", "forward"):
            usd = self.tick_values.get(name, usd)
        return self.counts["updates"].read(now_ns) * self.mean_depth_at(now_ns) * self.units * usd

    @property
    def usd_factor(self) -> float:
        """USD per unit of quoted price, for cash values."""
        coin = self.static["inverse"] and self.static["is_option"]
        return self.tick_values.get("index", NAN) if coin else 1.0

    @property
    def counts_usd(self) -> bool:
        """Inverse perpetuals and futures: a unit of size is some USD, not some coins."""
        return bool(self.static["inverse"] and not self.static["is_option"])

    @property
    def units(self) -> float:
        """Underlying per unit of native size."""
        multiplier = float(self.static["multiplier"])
        if not self.counts_usd:
            return multiplier
        return multiplier / (self.state.mid * self.static["tick"]) if self.state.two_sided else NAN

    def metrics(self, now_ns: int) -> dict[str, float]:
        """Every metric of SCORING.md section 2; NaN where it says so."""
        out = self._regular_metrics(now_ns)
        if not self.regular(now_ns):
            out = dict.fromkeys(out, NAN)
        multiplier = self.units
        for name in ("trades", "updates", "reductions"):
            out[name] = self.counts[name].read(now_ns)
        out["contracts"] = self.counts["contracts"].read(now_ns) * multiplier
        for name in ("premium", "block_premium"):
            out[f"{name}_usd"] = self.counts[name].read(now_ns) * self.usd_factor
        out["pressure"] = self.pressure
        out["liquidity_class"] = self.liquidity_class
        rate = math.log(2) / 300
        out["update_rate"] = self.counts["updates"].read(now_ns) * rate
        out["trade_rate"] = self.counts["trades"].read(now_ns) * rate
        age = NAN if self.changed_ns is None else seconds(now_ns, self.changed_ns)
        out["quote_age_s"] = age
        for h in HALF_LIVES_S:
            # The decay cancels; only whether anything is left depends on the time.
            bought, sold = self.bought[h].read(now_ns), self.sold[h].read(now_ns)
            total = bought + sold
            out[f"flow_{h}s"] = (bought - sold) * multiplier
            out[f"tfi_{h}s"] = (bought - sold) / total if total > 0 else NAN
        for name in ("delta", "vega", "iv_mark", "forward", "index", "open_interest"):
            out[name] = self.tick_values.get(name, NAN)
        return out

    def _regular_metrics(self, now_ns: int) -> dict[str, float]:
        """Those that need a regular row; on any other row only the names are meant."""
        state = self.state
        if not state.regular:
            state = State(((1, 1.0),), ((2, 1.0),), 0, now_ns)
        tick, multiplier = self.static["tick"], self.units
        usd = self.usd_factor
        (bid, qb), (ask, qa) = state.bids[0], state.asks[0]
        spread, mid = (ask - bid) * tick, state.mid * tick
        obi = (qb - qa) / (qb + qa)
        vega = self.tick_values.get("vega", NAN)
        sizes = sum(size for _, size in state.bids + state.asks)
        out = {
            "obi": obi,
            "microprice_offset": spread / 2 * obi,
            "depth_obi": depth_obi(state, self.mean_spread_at(now_ns)),
            "spread_rel": spread / mid if mid > 0 else NAN,
            "depth_underlying": sizes * multiplier,
            "mid": mid,
        }
        out |= self._option_metrics(state, now_ns)
        mean_depth = self.mean_depth_at(now_ns)
        for h in HALF_LIVES_S:
            out[f"ofi_{h}s"] = self.ofi(now_ns, h) / mean_depth
        units = self.ofi(now_ns, 30) * multiplier
        delta, forward = (self.tick_values.get(name, NAN) for name in ("delta", "forward"))
        out["ofi_30s_usd_vega"] = units * vega
        out["ofi_30s_usd_delta"] = units * delta * forward
        out["ofi_30s_usd_premium"] = units * mid * usd / self.static["price_per"]
        return out

    def _option_metrics(self, state: State, now_ns: int) -> dict[str, float]:
        """Those in units of volatility; NaN for anything but an option with vega > 0."""
        flows = [f"iv_ofi_{h}s" for h in HALF_LIVES_S]
        names = ["spread_vol", "vol_per_tick", "depth_usd_vega", "depth_usd_delta", *flows]
        out = dict.fromkeys(names, NAN)
        vega, delta, theta, forward = (
            self.tick_values.get(name, NAN) for name in ("vega", "delta", "theta", "forward")
        )
        if self.anchors is None or not vega > 0:
            return out
        tick_usd = self.static["tick"] / self.static["price_per"]
        if self.static["inverse"]:
            tick_usd *= forward
        out["spread_vol"] = state.spread * tick_usd / vega
        out["vol_per_tick"] = self.anchors.grid.step(state.mid) * tick_usd / vega
        # An inverse option without a forward has no distances in USD: NaN, not an empty book.
        near = depth_near(state.bids + state.asks, state.mid, 2 * vega / tick_usd)
        out["depth_usd_vega"] = near * self.units * vega
        out["depth_usd_delta"] = near * self.units * abs(delta) * forward
        known = not any(math.isnan(one) for one in (delta, theta, forward))
        visible = known and out["vol_per_tick"] <= HIDING_TICK_VOL
        if visible and not self.validity(now_ns) & SETTLING:
            for h, name in zip(HALF_LIVES_S, flows, strict=True):
                out[name] = self.iv_ofi(now_ns, h) / self.mean_depth_at(now_ns)
        return out


def depth_obi(state: State, mean_spread_ticks: float) -> float:
    """Imbalance of the used book, each level weighted by `2**-(distance / mean spread)`."""

    def weighted(side: Levels) -> float:
        weights = (2.0 ** (-abs(price - state.mid) / mean_spread_ticks) for price, _ in side)
        return math.fsum(w * size for w, (_, size) in zip(weights, side, strict=True))

    bids, asks = weighted(state.bids), weighted(state.asks)
    return (bids - asks) / (bids + asks) if bids + asks > 0 else NAN
