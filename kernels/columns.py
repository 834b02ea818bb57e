"""Stage 4 of 8: the one table of device columns: what is kept for every listing.

Columns are grouped by dtype into two-dimensional arrays [column, listing], the second axis padded
to a multiple of 128. A column's name in COLUMNS is its constant's name in lower case.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

PAD: Final = 128
LEVELS_KEPT: Final = 32  # Capacity of a book, a side.
LEVELS_USED: Final = 10  # The used book: what features and level order-flow imbalance read.
NO_PRICE: Final = -(2**31)  # No price on this side, in a column of ticks.
NO_SLOT: Final = -1
NEVER: Final = 0  # No such time yet; no market data is from 1970.
NO_FORWARD: Final = -(2**63)
# Kinds of the rows of a book or quote update that could not be read: a gap, always.
VOIDED_BOOK, VOIDED_QUOTE = 250, 251
BOOK_GIVEN_BACK = 1  # level of a CLEAR row: feeds.events.BOOK_GIVEN_BACK

# int64 columns
UPDATE_NS, CHANGE_NS, OFI_NS, TRADE_NS, COUNT_NS = range(5)
QUOTE_EX_NS, OBSERVED_NS, FORWARD_E6, FORWARD_BEFORE_E6, EXPIRY_NS, SETTLE_WINDOW_NS = range(5, 11)
QUOTE_EX_BEFORE_NS, ROLL_NS = 11, 12
I64_COUNT: Final = 13
# int32 columns
BID, ASK, BID_BEFORE, ASK_BEFORE, LAST_TRADE, MID2_OBSERVED, OWN_COUNT, SLOT = range(8)
EXPIRY_GROUP, UNDERLYING_GROUP, ANCHOR_BID, ANCHOR_ASK, COARSE_FROM, STEP = range(8, 14)
I32_COUNT: Final = 14
# uint8 columns
FRESH, HALTED, LAST_SIDE, STRATUM, HAS_STATE, IS_OPTION, IS_INVERSE, SCORED, NEEDS_RESYNC = range(9)
LIQUIDITY, HAS_BOOK = 9, 10
U8_COUNT: Final = 11
# float32 columns
BID_SIZE, ASK_SIZE = 0, 1
OFI_BUY, OFI_SELL = 2, 6  # four half-lives each
TRADE_BUY, TRADE_SELL = 10, 14  # four half-lives each
SPREAD_SUM, DEPTH_SUM, REGULAR_WEIGHT = 18, 19, 20
TRADES, CONTRACTS, PREMIUM, UPDATES, REDUCTIONS, BLOCK_PREMIUM = range(21, 27)
TICK, MULTIPLIER, PRICE_PER = 27, 28, 29
DELTA, VEGA, GAMMA, THETA, IV_MARK, IV_BID, IV_ASK, INDEX, OPEN_INTEREST, MARK = range(30, 40)
PRESSURE, USD = 40, 41
IV_OFI_BUY, IV_OFI_SELL = 42, 46  # four half-lives each
DRIFT_BID, DRIFT_ASK, STRIKE = 50, 51, 52
F32_COUNT: Final = 53

# What a ticker says in float32, in the order of the columns from DELTA on.
TICKER_FIELDS: Final = (
    "delta", "vega", "gamma", "theta", "iv_mark", "iv_bid", "iv_ask", "index", "open_interest",
    "mark",
)  # fmt: skip
HALF_LIFE_COUNT: Final = 4
FEATURE_COUNT: Final = 6
DRIVER_COUNT: Final = 12
LIST_COUNT: Final = 2
STRATUM_COUNT: Final = 5
# Baseline words of one feature, array baseline[word, feature, listing].
MEAN, VARIANCE, COUNT, SMOOTHED, SMOOTHED_VARIANCE, SMOOTHED_COUNT, Z_BEFORE = range(7)
BASELINE_COUNT: Final = 7
# Row counters written by apply.
(
    ROWS_APPLIED, QUOTES_SUPERSEDED, DELTAS_IN_GAP,
    SIDES_INFERRED, SIDES_UNKNOWN, LEVELS_PUSHED_OUT, ROWS_MALFORMED,
) = range(7)  # fmt: skip
COUNTER_NAMES: Final = (
    "rows_applied", "quotes_superseded", "deltas_in_gap",
    "sides_inferred", "sides_unknown", "levels_pushed_out", "rows_malformed",
)  # fmt: skip


class Validity(IntFlag):
    """Why a row may not be scored, or is to be read with care (docs/SCORING.md, section 1)."""

    NO_BID = 1
    NO_ASK = 2
    LOCKED = 4
    CROSSED = 8
    STALE = 16
    ZERO_SIZE = 32
    BELOW_INTRINSIC = 64
    EXPIRED = 128
    GAP = 256
    IV_UNSOLVED = 512
    WARM_UP = 1024
    RECOVERING = 2048
    SETTLING = 4096
    TRUNCATED = 8192
    NO_STATE = 16384


# The same bits as plain ints: compiled code reads module constants, not enums.
NO_BID, NO_ASK, LOCKED, CROSSED = 1, 2, 4, 8
ZERO_SIZE, EXPIRED, GAP, SETTLING, TRUNCATED, NO_STATE = 32, 128, 256, 4096, 8192, 16384
NOT_TWO_SIDED: Final = NO_BID | NO_ASK | EXPIRED | GAP | NO_STATE
NOT_REGULAR: Final = NOT_TWO_SIDED | LOCKED | CROSSED
BREAKS_BAR: Final = EXPIRED | GAP | NO_STATE


@dataclass(frozen=True, slots=True)
class Column:
    """One device column.

    Attributes:
        name: constant's name in lower case.
        dtype: of one cell.
        first: index of its first row in the array of its dtype.
        count: rows it takes (half-lives).
        unit: of the value.
        writer: stage that writes it.
        meaning: one sentence.
    """

    name: str
    dtype: str
    first: int
    count: int
    unit: str
    writer: str
    meaning: str


COLUMNS: Final = (
    Column("update_ns", "i8", UPDATE_NS, 1, "ns UTC", "apply", "receive time of the last update"),
    Column("change_ns", "i8", CHANGE_NS, 1, "ns UTC", "apply", "last change of the used book"),
    Column("ofi_ns", "i8", OFI_NS, 1, "ns UTC", "apply", "time the decayed OFI sums stand at"),
    Column("trade_ns", "i8", TRADE_NS, 1, "ns UTC", "apply", "time the trade sums stand at"),
    Column("count_ns", "i8", COUNT_NS, 1, "ns UTC", "apply", "time the decayed counts stand at"),
    Column("quote_ex_ns", "i8", QUOTE_EX_NS, 1, "ns UTC", "apply", "venue time of the quote state"),
    Column("quote_ex_before_ns", "i8", QUOTE_EX_BEFORE_NS, 1, "ns UTC", "apply",
           "venue time of the quote state before"),
    Column("roll_ns", "i8", ROLL_NS, 1, "ns UTC", "tickers", "time the drifts stand at"),
    Column("observed_ns", "i8", OBSERVED_NS, 1, "ns UTC", "score", "last observation, grid time"),
    Column("forward_e6", "i8", FORWARD_E6, 1, "1e-6 USD", "tickers", "the venue's forward"),
    Column("forward_before_e6", "i8", FORWARD_BEFORE_E6, 1, "1e-6 USD", "score",
           "forward at the last observation"),
    Column("expiry_ns", "i8", EXPIRY_NS, 1, "ns UTC", "listing", "expiry instant, 0 = none"),
    Column("settle_window_ns", "i8", SETTLE_WINDOW_NS, 1, "ns", "listing", "averaging window"),
    Column("bid", "i4", BID, 1, "ticks", "apply", "best bid"),
    Column("ask", "i4", ASK, 1, "ticks", "apply", "best ask"),
    Column("bid_before", "i4", BID_BEFORE, 1, "ticks", "apply", "bid of the state before"),
    Column("ask_before", "i4", ASK_BEFORE, 1, "ticks", "apply", "ask of the state before"),
    Column("last_trade", "i4", LAST_TRADE, 1, "ticks", "apply", "price of the last print"),
    Column("mid2_observed", "i4", MID2_OBSERVED, 1, "half ticks", "score",
           "mid at the last observation"),
    Column("own_count", "i4", OWN_COUNT, 1, "1", "score", "observations, run and checkpoint"),
    Column("slot", "i4", SLOT, 1, "1", "state", "depth slot, -1 = top of book only"),
    Column("expiry_group", "i4", EXPIRY_GROUP, 1, "1", "listing", "underlying and expiry, -1 none"),
    Column("underlying_group", "i4", UNDERLYING_GROUP, 1, "1", "listing", "of an option, -1 none"),
    Column("anchor_bid", "i4", ANCHOR_BID, 1, "ticks", "apply", "bid at its last real event"),
    Column("anchor_ask", "i4", ANCHOR_ASK, 1, "ticks", "apply", "ask at its last real event"),
    Column("coarse_from", "i4", COARSE_FROM, 1, "ticks", "listing", "price from which step holds"),
    Column("step", "i4", STEP, 1, "ticks", "listing", "coarsest tick of the tick table"),
    Column("fresh", "u1", FRESH, 1, "flag", "apply", "changed since the last scan"),
    Column("halted", "u1", HALTED, 1, "1", "apply", "1 the venue halted it, 2 it ended"),
    Column("last_side", "u1", LAST_SIDE, 1, "side + 1", "apply", "aggressor of the last print"),
    Column("stratum", "u1", STRATUM, 1, "1", "score", "gap class of the last observation"),
    Column("has_state", "u1", HAS_STATE, 1, "flag", "apply", "an update was accepted"),
    Column("is_option", "u1", IS_OPTION, 1, "flag", "listing", "kind is option"),
    Column("is_inverse", "u1", IS_INVERSE, 1, "flag", "listing", "priced in the underlying"),
    Column("scored", "u1", SCORED, 1, "flag", "score", "the held outputs are a score"),
    Column("needs_resync", "u1", NEEDS_RESYNC, 1, "flag", "apply", "a truncated book ran out"),
    Column("has_book", "u1", HAS_BOOK, 1, "flag", "apply", "a book row came: quotes are ignored"),
    Column("liquidity", "u1", LIQUIDITY, 1, "1", "liquidity", "class 1 to 4, 0 = none yet"),
    Column("bid_size", "f4", BID_SIZE, 1, "native", "apply", "size at the best bid"),
    Column("ask_size", "f4", ASK_SIZE, 1, "native", "apply", "size at the best ask"),
    Column("ofi_buy", "f4", OFI_BUY, 4, "native", "apply", "decayed positive OFI, 1 5 30 300 s"),
    Column("ofi_sell", "f4", OFI_SELL, 4, "native", "apply", "decayed negative OFI, 1 5 30 300 s"),
    Column("iv_ofi_buy", "f4", IV_OFI_BUY, 4, "native", "apply",
           "decayed positive anchored OFI, 1 5 30 300 s"),
    Column("iv_ofi_sell", "f4", IV_OFI_SELL, 4, "native", "apply",
           "decayed negative anchored OFI, 1 5 30 300 s"),
    Column("drift_bid", "f4", DRIFT_BID, 1, "ticks", "tickers",
           "move of a bid of constant volatility since its anchor"),
    Column("drift_ask", "f4", DRIFT_ASK, 1, "ticks", "tickers",
           "move of an ask of constant volatility since its anchor"),
    Column("trade_buy", "f4", TRADE_BUY, 4, "native", "apply", "decayed bought size"),
    Column("trade_sell", "f4", TRADE_SELL, 4, "native", "apply", "decayed sold size"),
    Column("spread_sum", "f4", SPREAD_SUM, 1, "ticks", "apply", "time-weighted spread, 300 s"),
    Column("depth_sum", "f4", DEPTH_SUM, 1, "native", "apply", "time-weighted top depth, 300 s"),
    Column("regular_weight", "f4", REGULAR_WEIGHT, 1, "1", "apply", "weight of both means"),
    Column("trades", "f4", TRADES, 1, "1", "apply", "decayed count of prints, 300 s"),
    Column("contracts", "f4", CONTRACTS, 1, "native", "apply", "decayed printed size, 300 s"),
    Column("premium", "f4", PREMIUM, 1, "price ccy", "apply", "decayed printed premium, 300 s"),
    Column("updates", "f4", UPDATES, 1, "1", "apply", "decayed count of updates, 300 s"),
    Column("reductions", "f4", REDUCTIONS, 1, "1", "apply", "decayed count of withdrawals, 300 s"),
    Column("block_premium", "f4", BLOCK_PREMIUM, 1, "price ccy", "apply",
           "decayed premium of block, RFQ and combo prints, 300 s"),
    Column("tick", "f4", TICK, 1, "price", "listing", "smallest tick"),
    Column("multiplier", "f4", MULTIPLIER, 1, "underlying", "listing", "per native size unit"),
    Column("price_per", "f4", PRICE_PER, 1, "underlying", "listing", "what one price covers"),
    Column("strike", "f4", STRIKE, 1, "USD", "listing", "strike, NaN where there is none"),
    Column("delta", "f4", DELTA, 1, "1", "tickers", "Black-Scholes delta"),
    Column("vega", "f4", VEGA, 1, "USD per vol point", "tickers", "vega"),
    Column("gamma", "f4", GAMMA, 1, "1/USD", "tickers", "gamma"),
    Column("theta", "f4", THETA, 1, "USD per day", "tickers", "theta"),
    Column("iv_mark", "f4", IV_MARK, 1, "fraction", "tickers", "venue's mark volatility"),
    Column("iv_bid", "f4", IV_BID, 1, "fraction", "tickers", "venue's bid volatility"),
    Column("iv_ask", "f4", IV_ASK, 1, "fraction", "tickers", "venue's ask volatility"),
    Column("index", "f4", INDEX, 1, "USD", "tickers", "venue's index"),
    Column("open_interest", "f4", OPEN_INTEREST, 1, "native", "tickers", "open interest"),
    Column("mark", "f4", MARK, 1, "price", "tickers", "venue's mark price"),
    Column("pressure", "f4", PRESSURE, 1, "z", "score", "mean 60 s z of the imbalance family"),
    Column("usd", "f4", USD, 1, "USD", "score", "magnitude that breaks ties of the ranking"),
)  # fmt: skip
