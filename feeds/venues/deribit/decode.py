"""Stage 2 of 8: Deribit frames to event rows, ticker rows and the frame table."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from msgspec import ValidationError

from feeds.errors import FrameError
from feeds.events import DecodeOut, Flag, LifecycleNotice, ListingState
from feeds.venues.deribit import wire
from feeds.venues.deribit.columns import (
    AUX_SHIFT,
    BOOK_DELTA_CODE,
    BOOK_SNAPSHOT_CODE,
    BOOK_WINDOW_CODE,
    FLAGS_SHIFT,
    QUOTE_CODE,
    SET,
    TRADE_CODE,
    Batch,
)

# The first word of each state set ended with the release of 2026-01-13, the second began with it.
# A settled perpetual or future trades on, so that word ends options only. An inactive instrument
# may open again; `delivered` and `archivized` are final.
STATES: Final = {
    "created": ListingState.LISTED,
    "started": ListingState.LIVE,
    "settled": ListingState.EXPIRED,
    "closed": ListingState.EXPIRED,
    "deactivated": ListingState.HALTED,
    "terminated": ListingState.EXPIRED,
    "open": ListingState.LIVE,
    "locked": ListingState.HALTED,
    "settlement": ListingState.HALTED,
    "inactive": ListingState.HALTED,
    "halted": ListingState.HALTED,
    "delivered": ListingState.EXPIRED,
    "archivized": ListingState.EXPIRED,
}

DECIMAL_KEY_DIGITS: Final = 19  # 10**19 - 1 is below 2**64
WINDOW_PARTS: Final = 5  # book.{instrument}.{group}.{depth}.{interval}
STRUCTURE_COUNT: Final = 65_535  # aux is u2 and 0 means none

Route = Callable[[bytes, int, Batch], None]


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are counted as skipped: `heartbeat`, `answer` (to a request of
    ours), `other_channel`. An instrument that `symbols` lacks is `unknown_symbol`, a trade of a
    combination itself is `combo` (its legs are trades of their own).
    """
    batch = Batch(symbols, rx_ns)
    route_of = ROUTES.get
    for index, frame in enumerate(frames):
        route = route_of(frame[:ROUTE_BYTES], _rare)
        try:
            route(frame, index, batch)
        except (ValueError, FrameError, RecursionError) as error:
            # msgspec's errors and bad UTF-8 are ValueErrors; deep nesting is a RecursionError.
            batch.failures.append((index, str(error)))
    batch.write(frames, out)


def _book(frame: bytes, index: int, batch: Batch) -> None:
    if batch.windowed and _channel_parts(frame) == WINDOW_PARTS:
        _window(frame, index, batch)
        return
    try:
        data = wire.read_book(frame).params.data
    except ValidationError:
        # Levels of a grouped book have two entries. From now on the channel is looked at first;
        # doing that always would cost every change a tenth of its time.
        if _channel_parts(frame) != WINDOW_PARTS:
            raise
        batch.windowed = True
        _window(frame, index, batch)
        return
    listing = batch.symbols.get(data.instrument_name)
    if listing is None:
        batch.skip("unknown_symbol")
        return
    previous, bids, asks = data.prev_change_id, data.bids, data.asks
    code = BOOK_DELTA_CODE
    if data.type != "change" or previous is None:
        if data.type is None and not bids and not asks and _channel_parts(frame) == WINDOW_PARTS:
            _window(frame, index, batch)  # an empty window has the shape of an old empty snapshot
            return
        code, previous = _untyped(data)
    batch.levels += bids
    batch.levels += asks
    batch.put_update(
        (index, data.timestamp, data.change_id, previous, listing, len(bids), len(asks), code)
    )


def _untyped(data: wire.Book) -> tuple[int, int]:
    """Code and seq_prev of a book message that is not plainly a change.

    Messages before 2020 have no type: a snapshot is one without prev_change_id. Later snapshots
    may carry a prev_change_id; they start the chain all the same.
    """
    if data.type == "snapshot" or (data.type is None and data.prev_change_id is None):
        return BOOK_SNAPSHOT_CODE, -1
    if data.prev_change_id is None:
        raise FrameError(f"{data.instrument_name} change had no prev_change_id")
    return BOOK_DELTA_CODE, data.prev_change_id


def _channel_parts(frame: bytes) -> int:
    """Number of dotted parts of the channel's name; meaningless for another layout."""
    begin = len(wire.PREFIX)
    return frame.count(b".", begin, frame.find(b'"', begin)) + 1


def _window(frame: bytes, index: int, batch: Batch) -> None:
    data = wire.read_window(frame).params.data
    listing = batch.symbols.get(data.instrument_name)
    if listing is None:
        batch.skip("unknown_symbol")
        return
    bids, asks = data.bids, data.asks
    batch.levels += [(SET, price, amount) for price, amount in bids]
    batch.levels += [(SET, price, amount) for price, amount in asks]
    batch.put_update(
        (index, data.timestamp, data.change_id, -1, listing, len(bids), len(asks), BOOK_WINDOW_CODE)
    )


def _quote(frame: bytes, index: int, batch: Batch) -> None:
    data = wire.read_quote(frame).params.data
    listing = batch.symbols.get(data.instrument_name)
    if listing is None:
        batch.skip("unknown_symbol")
        return
    batch.put_level((SET, data.best_bid_price, data.best_bid_amount))
    batch.put_level((SET, data.best_ask_price, data.best_ask_amount))
    batch.put_update((index, data.timestamp, 0, -1, listing, 1, 1, QUOTE_CODE))


def _ticker(frame: bytes, index: int, batch: Batch) -> None:
    data = wire.read_ticker(frame).params.data
    listing = batch.symbols.get(data.instrument_name)
    if listing is None:
        batch.skip("unknown_symbol")
        return
    greeks = data.greeks or wire.NO_GREEKS
    batch.put_ticker_id((index, data.timestamp, listing, 1))
    batch.put_ticker_value(
        (
            data.mark_price,
            data.bid_iv,
            data.ask_iv,
            data.mark_iv,
            greeks.delta,
            greeks.gamma,
            greeks.vega,
            greeks.theta,
            data.underlying_price,
            data.index_price,
            data.open_interest,
        )
    )


def _trades(frame: bytes, index: int, batch: Batch) -> None:
    # Nothing in the loop can fail, so that a bad trade leaves nothing of its frame behind: it was
    # refused as a whole when it was read.
    listing_of = batch.symbols.get
    for trade in wire.read_trades(frame).params.data:
        listing = listing_of(trade.instrument_name)
        if listing is None:
            batch.skip("combo" if bytes(trade.legs) else "unknown_symbol")
            continue
        code = TRADE_CODE
        if (
            trade.combo_id is not None
            or trade.block_trade_id is not None
            or trade.combo_trade_id is not None
            or trade.block_rfq_id is not None
        ):
            code |= _structure(trade)
        bids, asks = (1, 0) if trade.direction == "buy" else (0, 1)
        batch.put_level((SET, trade.price, trade.amount))
        batch.put_update((index, trade.timestamp, trade.trade_seq, -1, listing, bids, asks, code))
        batch.put_trade_key(trade_key(trade.trade_id))


def trade_key(trade_id: str) -> int:
    """64-bit key of a trade id: a decimal id is its own key, any other text is hashed.

    Ids of BTC are decimal, those of other currencies carry a prefix (`ETH-12345`). A bare number
    is free of collisions and ten times cheaper than a hash.
    """
    if trade_id.isdecimal() and len(trade_id) <= DECIMAL_KEY_DIGITS:
        return int(trade_id)
    return _hash64(trade_id)


def _hash64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _structure(trade: wire.Trade) -> int:
    """Flags and structure number of a trade, in their places of an update's code.

    All prints of one block, else of one combination, share a number: a hash, so that it does not
    depend on how the log is cut. Two structures share one by chance once in 65,535 pairs.
    """
    flags, name = 0, ""
    if trade.combo_id is not None or trade.combo_trade_id is not None:
        flags |= Flag.COMBO_LEG
        name = f"combo {trade.combo_trade_id or (trade.combo_id, trade.timestamp)}"
    if trade.block_rfq_id is not None:
        flags |= Flag.RFQ | Flag.BLOCK
        name = f"rfq {trade.block_rfq_id}"
    if trade.block_trade_id is not None:
        flags |= Flag.BLOCK
        name = f"block {trade.block_trade_id}"
    return flags << FLAGS_SHIFT | (_hash64(name) % STRUCTURE_COUNT + 1) << AUX_SHIFT


def _marks(frame: bytes, index: int, batch: Batch) -> None:
    listing_of = batch.symbols.get
    for mark in wire.read_marks(frame).params.data:
        listing = listing_of(mark.instrument_name)
        if listing is None:
            batch.skip("unknown_symbol")
            continue
        batch.put_ticker_id((index, mark.timestamp, listing, 0))
        batch.put_ticker_value((mark.mark_price, None, None, mark.iv, *_NO_MARK_FIELDS))


_NO_MARK_FIELDS: Final = (None,) * 7  # delta to open interest


def _rare(frame: bytes, index: int, batch: Batch) -> None:
    """Read the envelope first: rare channels, frames laid out otherwise, answers, rubbish."""
    envelope = wire.read_envelope(frame)
    params = envelope.params
    if envelope.method == "subscription" and params is not None and params.channel is not None:
        _by_channel(params.channel, bytes(params.data), (frame, index), batch)
    elif envelope.method == "heartbeat":
        batch.skip("heartbeat")
    elif envelope.method is None and (envelope.error is not None or bytes(envelope.result)):
        batch.skip("answer")
    else:
        raise FrameError("message was neither a subscription, a heartbeat nor an answer")


def _by_channel(channel: str, data: bytes, at: tuple[bytes, int], batch: Batch) -> None:
    frame, index = at
    family, _, rest = channel.partition(".")
    if family == "book":
        (_window if rest.count(".") == 3 else _book)(frame, index, batch)
    elif family in _FAMILIES:
        _FAMILIES[family](frame, index, batch)
    elif family == "deribit_price_index":
        _price_index(data, index, batch)
    elif channel.startswith("instrument.state."):
        _instrument_state(data, batch.rx_ns[index], batch)
    elif channel.startswith("instrument.creation."):
        name = wire.read_instrument_creation(data).instrument_name
        batch.lifecycle.append(LifecycleNotice(batch.rx_ns[index], name, ListingState.LISTED))
    else:
        batch.skip("other_channel")


def _price_index(data: bytes, index: int, batch: Batch) -> None:
    price_index = wire.read_price_index(data)
    listing = batch.symbols.get(price_index.index_name)
    if listing is None:
        batch.skip("unknown_symbol")
        return
    price = price_index.price
    batch.put_ticker_id((index, price_index.timestamp, listing, 0))
    batch.put_ticker_value((price, *(None,) * 8, price, None))


def _instrument_state(data: bytes, rx_ns: int, batch: Batch) -> None:
    notice = wire.read_instrument_state(data)
    name, state = notice.instrument_name, STATES.get(notice.state)
    if state is None:
        raise FrameError(f"{name} state was {notice.state[:32]!r}, expected one of {list(STATES)}")
    if notice.state == "settled" and not name.endswith(("-C", "-P")):
        batch.skip("settlement")
        return
    batch.lifecycle.append(LifecycleNotice(rx_ns, name, state))


_FAMILIES: Final[dict[str, Route]] = {
    "ticker": _ticker,
    "trades": _trades,
    "quote": _quote,
    "markprice": _marks,
}
# Three letters after the prefix tell the frequent channels apart; no other channel shares them.
ROUTE_BYTES: Final = len(wire.PREFIX) + 3
ROUTES: Final[dict[bytes, Route]] = {
    wire.PREFIX + b"boo": _book,
    wire.PREFIX + b"tic": _ticker,
    wire.PREFIX + b"tra": _trades,
    wire.PREFIX + b"quo": _quote,
    wire.PREFIX + b"mar": _marks,
}
