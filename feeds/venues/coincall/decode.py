"""Stage 2 of 8: Coincall frames to event rows, ticker rows and the frame table.

A frame says what it is by its `dt`; its data are read by the shape of that (wire.py).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, compress
from typing import Any, Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_WINDOW_CODE,
    CODE,
    KEY,
    NO_PREVIOUS,
    NS_PER_MS,
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
from feeds.events import DecodeOut
from feeds.trade_keys import trade_keys
from feeds.venues.coincall import plan, wire
from feeds.venues.coincall.universe import NAME, index_symbol

# The venue's solver ends here where no volatility gives the price, as below intrinsic value.
IV_FLOOR: Final = 0.01
# A subscription begins with prints of the past. A print is not delayed for this long, and venues'
# clocks are not wrong by as much.
CACHED_AFTER_NS: Final = 60 * 10**9
BOUGHT: Final = 1
_MARK, _INDEX = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")

# Takes frames of one family, by index, and what they carry.
Family = Callable[[list[int], list[Any], Batch], None]


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are skipped as `answer` (to a request of ours), `heartbeat` and
    `other_channel`; messages and entries of instruments that `symbols` lacks as `unknown_symbol`,
    prints of the past as `cached_trade`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    found: defaultdict[str, tuple[list[int], list[Any]]] = defaultdict(lambda: ([], []))
    for index, frame in enumerate(frames):
        try:
            envelope = wire.read_envelope(frame)
            word = plan.TYPES.get(-1 if envelope.dt is None else envelope.dt)
            if word is None:
                _skip(envelope, batch)
                continue
            data = READERS[word](envelope.d)
        except (ValueError, RecursionError) as error:
            batch.failures.append((index, str(error)))
            continue
        found[word][0].append(index)
        found[word][1].append(data)
    for word, (indexes, messages) in found.items():
        FAMILIES[word](indexes, messages, batch)
    batch.write(out)


def _skip(envelope: wire.Envelope, batch: Batch) -> None:
    """Count a frame that carries nothing for us.

    Raises:
        ValueError: it is neither data nor an answer.
    """
    if envelope.dt is not None:
        batch.skip("other_channel")
    elif envelope.rc is None:
        raise ValueError("message was neither data nor an answer")
    else:
        batch.skip("heartbeat" if envelope.c == plan.HEARTBEAT else "answer")


def _add_books(indexes: list[int], books: list[Any], batch: Batch) -> None:
    """Add whole windows of books, in the order of their times."""
    books, frames, listings = batch.known(books, ints(indexes))
    block = batch.block(frames, listings, _times_ns(books))
    block[SEQ] = ints([b.time_ms for b in books])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, BOOK_WINDOW_CODE
    block[BID_ROWS] = ints([len(b.bids) for b in books])
    block[ASK_ROWS] = ints([len(b.asks) for b in books])
    levels = list(chain.from_iterable(chain(b.bids, b.asks) for b in books))
    batch.add_updates(block, floats([x.pr for x in levels]), floats([x.sz for x in levels]))


def _add_values(indexes: list[int], values: list[Any], batch: Batch) -> None:
    """Add what is computed of single options, and the index beside it."""
    values, frames, listings = batch.known(values, ints(indexes))
    nothing: list[float | None] = [None] * len(values)
    columns = _columns(values, [v.iv_mark for v in values], nothing, nothing,
                       [v.index for v in values])  # fmt: skip
    batch.add_tickers(frames, listings, _times_ns(values), columns)
    roots = [v.instrument_name.partition("-")[0] for v in values]
    owners = ints([batch.symbols.get(index_symbol(root), -1) for root in roots])
    there = (owners >= 0) & (columns[_INDEX] > 0)
    of_index = np.full((len(TICKER_FIELDS), int(there.sum())), np.nan)
    of_index[_MARK] = of_index[_INDEX] = columns[_INDEX, there]
    batch.add_tickers(frames[there], owners[there], _times_ns(values)[there], of_index)


def _add_chains(indexes: list[int], chains: list[Any], batch: Batch) -> None:
    """Add the options of chains; the volatility of a side that nobody quotes is none."""
    frames = batch.frames_of(indexes, [len(entries) for entries in chains])
    entries, frames, listings = batch.known(list(chain.from_iterable(chains)), frames)
    nothing: list[float | None] = [None] * len(entries)
    columns = _columns(entries, nothing, _side_iv(entries, "bid"), _side_iv(entries, "ask"),
                       nothing)  # fmt: skip
    batch.add_tickers(frames, listings, _times_ns(entries), columns)


def _side_iv(entries: list[Any], side: str) -> list[float | None]:
    """Volatility of one side of each option, where it has a price and the price has a volatility.

    At the solver's floor, and below, there is none.
    """
    pairs = ((getattr(e, side), getattr(e, f"iv_{side}")) for e in entries)
    return [iv if price and iv is not None and iv > IV_FLOOR else None for price, iv in pairs]


def _columns(
    found: list[Any],
    iv_mark: list[float | None],
    iv_bid: list[float | None],
    iv_ask: list[float | None],
    index: list[float | None],
) -> Floats:
    """Values of tickers, in the order of TICKER_FIELDS."""
    return floats(
        [x.mark for x in found] + iv_bid + iv_ask + iv_mark + [x.forward for x in found] + index
        + [x.open_interest for x in found] + [x.delta for x in found] + [x.gamma for x in found]
        + [x.vega for x in found] + [x.theta for x in found]
    ).reshape(len(TICKER_FIELDS), -1)  # fmt: skip


def _add_trades(indexes: list[int], lists: list[Any], batch: Batch) -> None:
    """Add the prints of all messages, oldest first, but for those of the past."""
    frames = batch.frames_of(indexes, [len(prints) for prints in lists])
    ordered = list(chain.from_iterable(map(_oldest_first, lists)))
    trades, frames, listings = batch.known(ordered, frames)
    times = _times_ns(trades)
    news = batch.received[frames] - times <= CACHED_AFTER_NS
    for _ in range(len(trades) - int(news.sum())):
        batch.skip("cached_trade")
    trades = list(compress(trades, news.tolist()))
    block = batch.block(frames[news], listings[news], times[news])
    block[SEQ], block[SEQ_PREV], block[CODE] = 0, NO_PREVIOUS, TRADE_CODE
    bought = np.array([t.side == BOUGHT for t in trades], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = bought, ~bought
    # A print has no number: two alike in one millisecond are taken for one.
    block[KEY] = trade_keys(
        [f"{t.instrument_name} {t.time_ms} {t.price} {t.size} {t.side}" for t in trades]
    )
    batch.add_updates(block, floats([t.price for t in trades]), floats([t.size for t in trades]))


def _oldest_first(prints: list[Any]) -> list[Any]:
    """Prints of one message by their times; those of one moment stand the newest first there."""
    turned = list(reversed(prints))
    turned.sort(key=lambda trade: trade.time_ms)
    return turned


def _times_ns(messages: list[Any]) -> Ints:
    return ints([m.time_ms for m in messages]) * NS_PER_MS


READERS: Final[dict[str, Callable[[Any], Any]]] = {
    plan.BOOK: wire.read_book,
    plan.VALUES: wire.read_values,
    plan.CHAIN: wire.read_chain,
    plan.TRADES: wire.read_trades,
}
FAMILIES: Final[dict[str, Family]] = {
    plan.BOOK: _add_books,
    plan.VALUES: _add_values,
    plan.CHAIN: _add_chains,
    plan.TRADES: _add_trades,
}
