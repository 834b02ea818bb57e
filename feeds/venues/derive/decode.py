"""Stage 2 of 8: Derive frames to event rows, ticker rows and the frame table."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, compress
from typing import Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    BOOK_WINDOW_CODE,
    CODE,
    KEY,
    NO_PREVIOUS,
    NS_PER_MS,
    QUOTE_CODE,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    Ints,
    floats,
    ints,
)
from feeds.events import DecodeOut, Flag
from feeds.trade_keys import structure_code, trade_keys
from feeds.venues.derive import wire
from feeds.venues.derive.universe import NAME, index_name


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are counted as skipped: `answer` (to a request of ours),
    `other_channel`. An instrument that `symbols` lacks is `unknown_symbol`, the maker's half of a
    print is `maker_side`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_route: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        by_route[frame[:ROUTE_BYTES]].append(index)
    by_family = {word: by_route.pop(route) for route, word in ROUTES.items() if route in by_route}
    for index in sorted(chain.from_iterable(by_route.values())):
        word = _family_of(index, batch)
        if word is not None:
            by_family.setdefault(word, []).append(index)
    for word, indexes in by_family.items():
        FAMILIES[word](sorted(indexes), batch)
    batch.write(out)


def _family_of(index: int, batch: Batch) -> str | None:
    """Look at a frame without a route: skip it, or say which family it belongs to."""
    try:
        envelope = wire.read_envelope(batch.frames[index])
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None
    if envelope.method == "subscription" and envelope.params is not None:
        word = envelope.params.channel.partition(".")[0]
        if word in FAMILIES:
            return word
        batch.skip("other_channel")
    elif envelope.method is None and (envelope.error is not None or bytes(envelope.result)):
        batch.skip("answer")
    else:
        batch.failures.append((index, "message was neither a subscription nor an answer"))
    return None


def _add_books(indexes: list[int], batch: Batch) -> None:
    """Add whole windows of books, in the order of their times."""
    messages, indexes = batch.read_or_fail(wire.read_book, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    block = batch.block(frames, listings, _times_ns(messages))
    block[SEQ] = ints([m.timestamp for m in messages])
    block[SEQ_PREV] = NO_PREVIOUS
    block[CODE] = BOOK_WINDOW_CODE
    block[BID_ROWS] = ints([len(m.bids) for m in messages])
    block[ASK_ROWS] = ints([len(m.asks) for m in messages])
    levels = chain.from_iterable(chain(m.bids, m.asks) for m in messages)
    prices, amounts = floats(list(chain.from_iterable(levels))).reshape(-1, 2).T
    batch.add_updates(block, prices, amounts)


def _add_tickers(indexes: list[int], batch: Batch) -> None:
    """Add tickers, and the best prices of those that follow them."""
    messages, indexes = batch.read_or_fail(wire.read_ticker, indexes)
    messages, frames, listings = batch.known(messages, ints(indexes))
    tickers = [m.values for m in messages]
    models = [t.option_pricing or wire.NO_PRICING for t in tickers]
    values = floats(
        [t.mark for t in tickers]
        + [p.iv_bid for p in models]
        + [p.iv_ask for p in models]
        + [p.iv_mark for p in models]
        + [p.forward for p in models]
        + [t.index for t in tickers]
        + [(t.stats or wire.NO_STATS).open_interest for t in tickers]
        + [p.delta for p in models]
        + [p.gamma for p in models]
        + [p.vega for p in models]
        + [p.theta for p in models]
    ).reshape(len(TICKER_FIELDS), -1)
    batch.add_tickers(frames, listings, _times_ns(messages), values)
    quoting = [m.follows_quotes for m in messages]
    chosen = np.array(quoting, np.bool_)
    _add_quotes(list(compress(messages, quoting)), frames[chosen], listings[chosen], batch)


def _add_quotes(messages: list[wire.Ticker], frames: Ints, listings: Ints, batch: Batch) -> None:
    """Add best bids and offers; price 0 is a side without a price, and its size means nothing."""
    block = batch.block(frames, listings, _times_ns(messages))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[BID_ROWS] = block[ASK_ROWS] = 1
    block[CODE] = QUOTE_CODE
    tickers = [m.values for m in messages]
    prices = floats([p for t in tickers for p in (t.bid_price, t.ask_price)])
    sizes = floats([s for t in tickers for s in (t.bid_amount, t.ask_amount)])
    sizes[~(prices > 0) | (sizes == 0)] = np.nan
    prices[prices == 0] = np.nan
    batch.add_updates(block, prices, sizes)


def _add_trades(indexes: list[int], batch: Batch) -> None:
    """Add the prints of all messages."""
    messages, indexes = batch.read_or_fail(wire.read_trades, indexes)
    frames = batch.frames_of(indexes, list(map(len, messages)))
    trades, frames = _takers(list(chain.from_iterable(messages)), frames, batch)
    trades, frames, listings = batch.known(trades, frames)
    block = batch.block(frames, listings, _times_ns(trades))
    block[SEQ], block[SEQ_PREV] = 0, NO_PREVIOUS
    block[CODE] = TRADE_CODE
    for at, trade in enumerate(trades):
        request = trade.rfq_id or trade.quote_id
        if request:
            block[CODE, at] |= structure_code(Flag.RFQ, f"rfq {request}")
    block[BID_ROWS] = ints([t.direction == "buy" for t in trades])
    block[ASK_ROWS] = 1 - block[BID_ROWS]
    # With the instrument: nothing says that the legs of one request have ids of their own.
    block[KEY] = trade_keys([f"{t.instrument_name} {t.trade_id}" for t in trades])
    prices = floats([t.trade_price for t in trades])
    batch.add_updates(block, prices, floats([t.trade_amount for t in trades]))


def _takers(trades: list[wire.Trade], frames: Ints, batch: Batch) -> tuple[list[wire.Trade], Ints]:
    """Leave out what the makers did: it is the same fill again, of the other direction."""
    keep = [t.liquidity_role != "maker" for t in trades]
    for _ in range(len(keep) - sum(keep)):
        batch.skip("maker_side")
    return list(compress(trades, keep)), frames[np.array(keep, np.bool_)]


def _add_spot_feeds(indexes: list[int], batch: Batch) -> None:
    """Add spot prices, as marks of the index listings."""
    messages, indexes = batch.read_or_fail(wire.read_spot_feeds, indexes)
    frames = batch.frames_of(indexes, [len(m.feeds) for m in messages])
    entries = [
        wire.IndexPrice(index_name(currency), m.timestamp, feed.price)
        for m in messages
        for currency, feed in m.feeds.items()
    ]
    entries, frames, listings = batch.known(entries, frames)
    values = np.full((len(TICKER_FIELDS), len(entries)), np.nan)
    values[TICKER_FIELDS.index("mark")] = floats([e.price for e in entries])
    values[TICKER_FIELDS.index("index")] = values[TICKER_FIELDS.index("mark")]
    batch.add_tickers(frames, listings, _times_ns(entries), values)


def _times_ns(entries: Sequence[wire.Timed]) -> Ints:
    return ints([entry.timestamp for entry in entries]) * NS_PER_MS


# Takes the frames of one family, by their indexes in ascending order.
Family = Callable[[list[int], Batch], None]
# By the first word of the channel's name.
FAMILIES: Final[dict[str, Family]] = {
    "orderbook": _add_books,
    "ticker_slim": _add_tickers,
    "trades": _add_trades,
    "spot_feed": _add_spot_feeds,
}
# Seven letters after the prefix tell the channels apart; no other channel shares them.
ROUTE_BYTES: Final = len(wire.PREFIX) + 7
ROUTES: Final = {(wire.PREFIX + f"{word}.".encode())[:ROUTE_BYTES]: word for word in FAMILIES}
