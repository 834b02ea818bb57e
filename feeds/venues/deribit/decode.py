"""Stage 2 of 8: Deribit frames to event rows, ticker rows and the frame table."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

from feeds.bytescan.scanner import ByteScanner
from feeds.columns import Batch
from feeds.errors import FrameError
from feeds.events import DecodeOut, LifecycleNotice, ListingState
from feeds.venues.deribit import families, scan, wire
from feeds.venues.deribit.universe import NAME

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

SCANNER: Final = ByteScanner(scan.scan, percent=True)
warm_up: Final = SCANNER.warm_up

# Takes the frames of one family, by their indexes in ascending order.
Family = Callable[[list[int], Batch], None]

WINDOWS: Final = "grouped book"  # No channel has such a first word.
# By the first word of the channel's name.
FAMILIES: Final[dict[str, Family]] = {
    "book": families.add_books,
    WINDOWS: families.add_windows,
    "ticker": families.add_tickers,
    "trades": families.add_trades,
    "quote": families.add_quotes,
    "markprice": families.add_marks,
    "deribit_price_index": families.add_price_indexes,
}
# Three letters after the prefix tell the frequent channels apart; no other channel shares them.
ROUTE_BYTES: Final = len(wire.PREFIX) + 3
ROUTES: Final = {
    wire.PREFIX + b"boo": "book",
    wire.PREFIX + b"tic": "ticker",
    wire.PREFIX + b"tra": "trades",
    wire.PREFIX + b"quo": "quote",
    wire.PREFIX + b"mar": "markprice",
}


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
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_route: defaultdict[bytes, list[int]] = defaultdict(list)
    for index in SCANNER.take(batch):
        by_route[frames[index][:ROUTE_BYTES]].append(index)
    by_family = {
        family: by_route.pop(route) for route, family in ROUTES.items() if route in by_route
    }
    for index in sorted(chain.from_iterable(by_route.values())):
        rare = _family_of(index, batch)
        if rare is not None:
            by_family.setdefault(rare, []).append(index)
    for family, indexes in by_family.items():
        FAMILIES[family](sorted(indexes), batch)
    batch.write(out)


def _family_of(index: int, batch: Batch) -> str | None:
    """Look at a frame without a route: take it, or say which family it belongs to."""
    try:
        return _rare(batch.frames[index], index, batch)
    except (ValueError, FrameError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None


def _rare(frame: bytes, index: int, batch: Batch) -> str | None:
    """Read the envelope: rare channels, frames laid out otherwise, answers, rubbish."""
    envelope = wire.read_envelope(frame)
    params = envelope.params
    if envelope.method == "subscription" and params is not None and params.channel is not None:
        return _by_channel(params.channel, bytes(params.data), index, batch)
    if envelope.method == "heartbeat":
        batch.skip("heartbeat")
    elif envelope.method is None and (envelope.error is not None or bytes(envelope.result)):
        batch.skip("answer")
    else:
        raise FrameError("message was neither a subscription, a heartbeat nor an answer")
    return None


def _by_channel(channel: str, data: bytes, index: int, batch: Batch) -> str | None:
    """Take a notice at once; of anything else say the family."""
    word = channel.partition(".")[0]
    if word == "book" and channel.count(".") + 1 == families.WINDOW_PARTS:
        return WINDOWS
    if word in FAMILIES:
        return word
    rx_ns = int(batch.received[index])
    if channel.startswith("instrument.state."):
        _instrument_state(data, rx_ns, batch)
    elif channel.startswith("instrument.creation."):
        name = wire.read_instrument_creation(data).instrument_name
        batch.lifecycle.append(LifecycleNotice(rx_ns, name, ListingState.LISTED))
    else:
        batch.skip("other_channel")
    return None


def _instrument_state(data: bytes, rx_ns: int, batch: Batch) -> None:
    notice = wire.read_instrument_state(data)
    name, state = notice.instrument_name, STATES.get(notice.state)
    if state is None:
        raise FrameError(f"{name} state was {notice.state[:32]!r}, expected one of {list(STATES)}")
    if notice.state == "settled" and not name.endswith(("-C", "-P")):
        batch.skip("settlement")
        return
    batch.lifecycle.append(LifecycleNotice(rx_ns, name, state))
