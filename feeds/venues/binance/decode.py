"""Stage 2 of 8: Binance frames to event rows, ticker rows and the frame table.

The family of a frame is in the name of its stream. Numbers and times were checked when the message
was read (wire.py); one comprehension a column, as in Python the loop over messages is the cost.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import numpy as np

from feeds.bytescan.records import TICKER_VALUES
from feeds.bytescan.scanner import ByteScanner
from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    CODE,
    IVS,
    KEY,
    NO_PREVIOUS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    Floats,
    Ints,
    floats,
    ints,
)
from feeds.errors import SymbolError
from feeds.events import DecodeOut, Flag, LifecycleNotice, ListingState
from feeds.grammar import default_expiry_ns, parse
from feeds.trade_keys import keys_within, structure_code
from feeds.venues.binance import scan, wire
from feeds.venues.binance.families import (
    Family,
    add_families,
    add_quote_rows,
    add_quotes,
    add_windows,
    no_values,
    read,
    times_ns,
)
from feeds.venues.binance.scan import EXPONENT, IV_FLOOR, YEAR_NS
from feeds.venues.binance.universe import NAME

BLOCK: Final = "BLOCK"
TRADING: Final = "TRADING"
NO_EXPIRY: Final = -1

_INDEX: Final = TICKER_FIELDS.index("index")
_FORWARD: Final = TICKER_FIELDS.index("forward")


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames without rows for us are skipped as `answer` (to a request of ours), `other_channel` and
    `no_entries`; entries of instruments that `symbols` lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    add_families(SCANNER.take(batch), FAMILIES, batch)
    batch.write(out)


def _add_marks(indexes: list[int], batch: Batch) -> None:
    """Add a whole chain: best prices and ticker of every option."""
    messages, indexes = read(wire.read_marks, indexes, batch)
    marks, frames, listings = _flat(messages, indexes, batch)
    ex_ns = times_ns(marks)
    block = batch.block(frames, listings, ex_ns)
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, QUOTE_CODE
    add_quote_rows(block, marks, batch)
    values = floats(
        [m.mark for m in marks] + [m.iv_bid for m in marks] + [m.iv_ask for m in marks]
        + [m.iv_mark for m in marks]
        + [m.rate for m in marks]  # A forward, soon.
        + [m.index for m in marks]
        + [np.nan] * len(marks)
        + [m.delta for m in marks] + [m.gamma for m in marks] + [m.vega for m in marks]
        + [m.theta for m in marks]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip
    ivs = values[IVS]
    ivs[ivs <= IV_FLOOR] = np.nan  # -1 is none
    expiry_ns = ints([_expiry_ns(m.instrument_name) for m in marks])
    values[_FORWARD] = _forwards(values[_INDEX], values[_FORWARD], expiry_ns, ex_ns)
    batch.add_tickers(frames, listings, ex_ns, values)


def _forwards(indexes: Floats, rates: Floats, expiry_ns: Ints, ex_ns: Ints) -> Floats:
    """Forward of each option's expiry: its index carried there at the venue's rate.

    The venue states no forward; with this one Black's formula gives the marks that it states
    (docs/venues/binance.md).
    """
    years = np.maximum(expiry_ns - ex_ns, 0) / YEAR_NS
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows is out of range below.
        forwards = indexes * np.exp(rates * years)
    return np.where(expiry_ns == NO_EXPIRY, np.nan, forwards)


@lru_cache(maxsize=8192)  # Reading a name takes 4 us, and a chain names all of its each second.
def _expiry_ns(symbol: str) -> int:
    """Expiry that an option's name says; NO_EXPIRY where it says none."""
    try:
        return default_expiry_ns(parse(NAME, symbol))
    except SymbolError:
        return NO_EXPIRY


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add prints."""
    trades, indexes = read(wire.read_trade, indexes, batch)
    trades, frames, listings = batch.known(trades, ints(indexes))
    block = batch.block(frames, listings, times_ns(trades))
    block[SEQ] = ints([t.trade_id for t in trades])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, TRADE_CODE
    for at, trade in enumerate(trades):
        if trade.kind == BLOCK:
            # The venue does not say which prints are legs of one block: each stands alone.
            name = f"{trade.instrument_name}:{trade.trade_id}"
            block[CODE, at] |= structure_code(Flag.BLOCK, name)
    bought = np.array([t.side is wire.Side.BUY for t in trades], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = bought, ~bought
    # Ids are counted per instrument.
    block[KEY] = keys_within([(t.instrument_name, str(t.trade_id)) for t in trades])
    prices, sizes = floats([t.price for t in trades]), floats([t.size for t in trades])
    batch.add_updates(block, prices, sizes)


def _carry_indexes(tickers: Floats) -> None:
    """Give scanned chains their forwards, as `_forwards` does; numpy's exp, so that bits agree."""
    exponents = tickers[:, EXPONENT]
    exponents[:] = tickers[:, TICKER_VALUES + _INDEX] * np.exp(exponents)


SCANNER: Final = ByteScanner(scan.scan, finish_tickers=_carry_indexes)
warm_up: Final = SCANNER.warm_up


def _add_open_interest(indexes: list[int], batch: Batch) -> None:
    """Add the open interest of an expiry."""
    messages, indexes = read(wire.read_open_interest, indexes, batch)
    entries, frames, listings = _flat(messages, indexes, batch)
    values = no_values(len(entries))
    values[TICKER_FIELDS.index("open_interest")] = floats([e.contracts for e in entries])
    batch.add_tickers(frames, listings, times_ns(entries), values)


def _add_indexes(indexes: list[int], batch: Batch) -> None:
    """Add index prices, as marks of the index listings."""
    messages, indexes = read(wire.read_indexes, indexes, batch)
    entries, frames, listings = _flat(messages, indexes, batch)
    values = no_values(len(entries))
    values[TICKER_FIELDS.index("mark")] = floats([e.price for e in entries])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    batch.add_tickers(frames, listings, times_ns(entries), values)


def _add_new_symbols(indexes: list[int], batch: Batch) -> None:
    """Add notices of options that were listed."""
    notices, indexes = read(wire.read_new_symbol, indexes, batch)
    for notice, index in zip(notices, indexes, strict=True):
        name = notice.instrument_name
        if notice.status != TRADING:
            status = notice.status[:32]
            batch.failures.append((index, f"{name} status was {status!r}, expected {TRADING}"))
            continue
        rx_ns = int(batch.received[index])
        batch.lifecycle.append(LifecycleNotice(rx_ns, name, ListingState.LIVE))


def _flat(
    messages: Sequence[list[Any]], indexes: list[int], batch: Batch
) -> tuple[list[Any], Ints, Ints]:
    """Entries of whole messages about listings of ours, their frames and their listing ids."""
    frames = batch.frames_of(indexes, list(map(len, messages)))
    return batch.known(list(chain.from_iterable(messages)), frames)


FAMILIES: Final[dict[str, Family]] = {
    "optionMarkPrice": _add_marks,
    "depth": add_windows,
    "bookTicker": add_quotes,
    "optionTrade": _add_trades,
    "optionOpenInterest": _add_open_interest,
    "openInterest": _add_open_interest,  # the documentation's other spelling
    "!index@arr": _add_indexes,
    "!optionSymbol": _add_new_symbols,
}
