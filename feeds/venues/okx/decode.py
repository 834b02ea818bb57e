"""Stage 2 of 8: OKX frames to event rows, ticker rows and the frame table."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from feeds.bytescan.scanner import ByteScanner
from feeds.columns import Batch
from feeds.events import DecodeOut
from feeds.venues.okx import families, scan, wire
from feeds.venues.okx.universe import NAME

# Takes the frames of one family, by their indexes in ascending order.
Family = Callable[[list[int], Batch], None]

# By the channel's name.
FAMILIES: Final[dict[str, Family]] = {
    "books": families.add_books,
    "books-l2-tbt": families.add_books,
    "books50-l2-tbt": families.add_books,
    "books5": families.add_windows,
    "bbo-tbt": families.add_touches,
    "trades": families.add_trades,
    "trades-all": families.add_trades,
    "option-trades": families.add_trades,
    "opt-summary": families.add_summaries,
    "open-interest": families.add_open_interests,
    "mark-price": families.add_mark_prices,
    "index-tickers": families.add_index_tickers,
    "instruments": families.add_instruments,
}
SCANNER: Final = ByteScanner(scan.scan, prints_within_ns=families.CACHED_AFTER_NS)
warm_up: Final = SCANNER.warm_up

_BY_WORD: Final = {name.encode(): family for name, family in FAMILIES.items()}


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames that are not market data are counted as skipped: `heartbeat`, `answer` (to a request of
    ours, or a notice), `other_channel`. An instrument that `symbols` lacks is `unknown_symbol`, an
    instrument of a kind that is not scanned `left_out`, a print from long before `cached_trade`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    by_family: defaultdict[Family, list[int]] = defaultdict(list)
    begin = len(wire.PREFIX)
    for index in SCANNER.take(batch):
        frame = frames[index]
        family = None
        if frame.startswith(wire.PREFIX):
            family = _BY_WORD.get(frame[begin : frame.find(b'"', begin)])
        family = family or _rare(index, batch)
        if family is not None:
            by_family[family].append(index)
    for family, indexes in by_family.items():
        family(indexes, batch)
    batch.write(out)


def _rare(index: int, batch: Batch) -> Family | None:
    """Look at a frame without a route: skip it, or say which family it belongs to."""
    frame = batch.frames[index]
    if frame == wire.PONG:
        batch.skip("heartbeat")
        return None
    try:
        envelope = wire.read_envelope(frame)
    except (ValueError, RecursionError) as error:
        batch.failures.append((index, str(error)))
        return None
    if envelope.event is not None:
        batch.skip("answer")
    elif envelope.arg is None:
        batch.failures.append((index, "message had neither an arg nor an event"))
    elif envelope.arg.channel in FAMILIES:
        return FAMILIES[envelope.arg.channel]
    else:
        batch.skip("other_channel")
    return None
