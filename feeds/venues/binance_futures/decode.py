"""Stage 2 of 8: frames of Binance's futures to event rows, ticker rows and the frame table.

The family of a frame is in the name of its stream; windows and best prices are those of its
options.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from feeds.columns import (
    ASK_ROWS,
    BID_ROWS,
    CODE,
    KEY,
    NO_PREVIOUS,
    SEQ,
    SEQ_PREV,
    TICKER_FIELDS,
    TRADE_CODE,
    Batch,
    floats,
    ints,
)
from feeds.events import DecodeOut, LifecycleNotice, ListingState
from feeds.trade_keys import keys_within
from feeds.venues.binance.families import (
    Family,
    add_families,
    add_quotes,
    add_windows,
    no_values,
    read,
    times_ns,
)
from feeds.venues.binance.wire import index_symbol
from feeds.venues.binance_futures import wire
from feeds.venues.binance_futures.plan import CONTRACTS
from feeds.venues.binance_futures.universe import KINDS, NAME

# The venue's words for the life of a contract.
STATES: Final = {
    "PENDING_TRADING": ListingState.LISTED,
    "TRADING": ListingState.LIVE,
    "PRE_DELIVERING": ListingState.HALTED,
    "DELIVERING": ListingState.HALTED,
    "PRE_SETTLE": ListingState.HALTED,
    "SETTLING": ListingState.HALTED,
    "DELIVERED": ListingState.EXPIRED,
    "CLOSE": ListingState.EXPIRED,
}
_MARK, _INDEX = TICKER_FIELDS.index("mark"), TICKER_FIELDS.index("index")


def decode(
    frames: Sequence[bytes],
    rx_ns: Sequence[int],
    symbols: Mapping[str, int],
    out: DecodeOut,
) -> None:
    """Turn a batch of frames into rows; bad frames are counted in `out`, never raised.

    Frames without rows for us are skipped as `answer` (to a request of ours), `other_channel` and
    `other_contract` (a notice of a family that is not listed); frames of instruments that `symbols`
    lacks as `unknown_symbol`.
    """
    batch = Batch(NAME, frames, rx_ns, symbols)
    add_families(range(len(frames)), FAMILIES, batch)
    batch.write(out)


def _add_marks(indexes: list[int], batch: Batch) -> None:
    """Add marks, and the index beside it to the index listing, which is the perpetual's."""
    marks, indexes = read(wire.read_mark, indexes, batch)
    marks, frames, listings = batch.known(marks, ints(indexes))
    values = no_values(len(marks))
    values[_MARK] = floats([m.mark for m in marks])
    values[_INDEX] = floats([m.index for m in marks])  # 0 is none
    times = times_ns(marks)
    batch.add_tickers(frames, listings, times, values)
    owners = ints([batch.symbols.get(index_symbol(m.instrument_name), -1) for m in marks])
    there = (owners >= 0) & (values[_INDEX] > 0)
    of_index = no_values(int(there.sum()))
    of_index[_MARK] = of_index[_INDEX] = values[_INDEX, there]
    batch.add_tickers(frames[there], owners[there], times[there], of_index)


def _add_prints(indexes: list[int], batch: Batch) -> None:
    """Add gathered prints."""
    prints, indexes = read(wire.read_print, indexes, batch)
    prints, frames, listings = batch.known(prints, ints(indexes))
    block = batch.block(frames, listings, times_ns(prints))
    block[SEQ] = ints([p.trade_id for p in prints])
    block[SEQ_PREV], block[CODE] = NO_PREVIOUS, TRADE_CODE
    sold = np.array([p.bought_by_maker for p in prints], np.bool_)
    block[BID_ROWS], block[ASK_ROWS] = ~sold, sold
    # Ids are counted per instrument.
    block[KEY] = keys_within([(p.instrument_name, str(p.trade_id)) for p in prints])
    batch.add_updates(block, floats([p.price for p in prints]), floats([p.size for p in prints]))


def _add_contracts(indexes: list[int], batch: Batch) -> None:
    """Add notices of what was listed, settles or has ended; changed margins say TRADING again."""
    contracts, indexes = read(wire.read_contract, indexes, batch)
    for contract, index in zip(contracts, indexes, strict=True):
        name, state = contract.instrument_name, STATES.get(contract.status)
        if contract.family is not wire.Family.LINEAR or contract.contract_type not in KINDS:
            batch.skip("other_contract")
        elif state is None:
            status = contract.status[:32]
            batch.failures.append((index, f"{name} status was {status!r}, expected one we know"))
        else:
            batch.lifecycle.append(LifecycleNotice(int(batch.received[index]), name, state))


FAMILIES: Final[dict[str, Family]] = {
    "markPrice": _add_marks,
    "depth": add_windows,
    "bookTicker": add_quotes,
    "aggTrade": _add_prints,
    CONTRACTS: _add_contracts,
}
