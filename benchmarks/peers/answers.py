"""Whether all engines of a case came to the same levels, prices and sizes; asked before any time is.

The columns of the msgspec peer are the reference: orjson's must be equal to the bit, the product's
rows must hold the same numbers, and books kept by handlers must be what the levels add up to.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers.handlers import Answer, Levels
from feeds.events import DecodeOut, Kind

if TYPE_CHECKING:
    from benchmarks.wire import Case

SIDE, PRICE, SIZE = 1, 2, 3  # columns of levels
WINDOWS = ("okx books5", "okx bbo-tbt")  # each frame is the whole book
BOOKS = (
    "book change",
    "okx books",
    "okx books5",
    "okx bbo-tbt",
    "bybit orderbook.25",
    "binance depth10",
)
TRADES = {
    "trades": (1, 2, 5), "okx option-trades": (1, 2, 3), "bybit publicTrade": (1, 2, 3),
    "binance optionTrade": (1, 2, 3),
}  # -> price, size, side  # fmt: skip
TOUCH = {"ticker": (4, 6)}  # -> best bid, best ask
MARKS = ("bybit ticker", "binance chain")  # column 1; ccxt reads no best prices out of these
# column of the peer -> field of a TICKER row, and what the first is multiplied by
TICKERS: dict[str, dict[int, tuple[str, float]]] = {
    "ticker": {3: ("mark", 1), 8: ("iv_mark", 0.01), 11: ("forward", 1), 12: ("index", 1), 13: ("delta", 1),
               14: ("gamma", 1), 15: ("vega", 1), 16: ("theta", 1)},
    "bybit ticker": {1: ("mark", 1), 4: ("iv_mark", 1), 5: ("forward", 1), 6: ("index", 1), 8: ("delta", 1),
                     9: ("gamma", 1), 10: ("vega", 1), 11: ("theta", 1)},
    "okx opt-summary": {1: ("iv_mark", 1), 4: ("delta", 1), 5: ("gamma", 1), 6: ("vega", 1), 7: ("theta", 1),
                        8: ("forward", 1)},
    "binance chain": {1: ("mark", 1), 2: ("index", 1), 9: ("iv_mark", 1), 10: ("delta", 1), 11: ("theta", 1),
                      12: ("gamma", 1), 13: ("vega", 1)},
}  # fmt: skip


def compare(case: "Case", out: DecodeOut, handlers: Mapping[str, Any]) -> None:
    """Compare everybody with the reference.

    Raises:
        AssertionError: names the family and who differs.
    """
    columns = case.columns(case.frames, case.ids)
    assert len(columns), f"{case.family}: no rows to compare"
    _same_columns(case, columns)
    _same_rows(case.family, columns, out)
    for library, handler in handlers.items():
        handler.keep()
        handler.begin(case.snapshots)
        for batch in case.batches:
            handler.feed(batch)
        expected = expected_answer(case)
        found = handler.answer()
        for part in ("books", "tickers", "marks", "trades"):
            want, got = getattr(expected, part), getattr(found, part)
            if part == "trades":
                want, got = sorted(want), sorted(got)
            assert not want or got == want, f"{case.family}: {library} differs in {part}"


def _same_columns(case: "Case", columns: np.ndarray) -> None:
    try:
        from benchmarks.peers.dicts import PEERS as ORJSON
    except ImportError:
        return
    reader = ORJSON.get(case.family.replace("small ", ""))
    if reader is None:
        return
    other = reader(case.frames, case.ids)
    assert np.array_equal(columns, other, equal_nan=True), f"{case.family}: orjson differs"


def _same_rows(family: str, columns: np.ndarray, out: DecodeOut) -> None:
    rows = out.rows.view()
    if family in BOOKS:
        kept = rows[
            np.isin(rows["kind"], (Kind.BOOK_DELTA, Kind.BOOK_SNAPSHOT, Kind.QUOTE))
            & ~np.isnan(rows["price"])
        ]
        ours = np.stack([kept["listing_id"], kept["side"] < 0, kept["price"], kept["size"]], axis=1)
        theirs = columns[:, [0, SIDE, PRICE, SIZE]]
    elif family == "binance bookTicker":
        ours = np.stack([rows["listing_id"], rows["price"], rows["size"]], axis=1)
        theirs = np.concatenate([columns[:, [0, 1, 2]], columns[:, [0, 3, 4]]])
        theirs = theirs[theirs[:, 1] > 0]
        ours = ours[~np.isnan(ours[:, 1])]
    elif family in TRADES:
        kept = rows[rows["kind"] == Kind.TRADE]
        ours = np.stack([kept["listing_id"], kept["price"], kept["size"], kept["side"]], axis=1)
        theirs = columns[:, [0, *TRADES[family]]]
    else:
        # The price of an index, which some tickers carry, is a row of its own.
        kept = out.tickers.view()
        kept = kept[np.isin(kept["listing_id"], columns[:, 0])]
        fields = TICKERS[family.replace("small ", "")]
        ours = np.stack([kept["listing_id"], *(kept[name] for name, _ in fields.values())], axis=1)
        theirs = np.stack([columns[:, 0], *(columns[:, at] * by for at, (_, by) in fields.items())], axis=1)  # fmt: skip
    assert ours.shape == theirs.shape, f"{family}: {len(ours)} rows, the peer has {len(theirs)}"
    # Rows hold sizes and greeks in single precision.
    same = np.isclose(_sorted(ours), _sorted(theirs), rtol=1e-6, atol=0, equal_nan=True)
    assert same.all(), f"{family}: {(~same).sum(axis=0)} numbers differ from the peer's, by column"


def _sorted(table: np.ndarray) -> np.ndarray:
    """Rows in the order of their first columns, in single precision, so that both sort alike."""
    table = table.astype(np.float32)
    return table[np.lexsort(table.T[::-1])]


def expected_answer(case: "Case") -> Answer:
    """What a handler has to come to, from the reference columns."""
    answer = Answer()
    symbols = [listing.symbol for listing in case.listings]
    columns = case.columns(case.snapshots + case.frames, case.ids).tolist()
    if case.family in BOOKS:
        for frame in case.snapshots + case.frames:
            _take_book(frame, case, symbols, answer)
    answer.books = {symbol: book for symbol, book in answer.books.items() if any(book)}
    for row in columns:
        symbol = symbols[int(row[0])]
        if case.family in TRADES:
            price, size, side = (row[at] for at in TRADES[case.family])
            answer.trades.append((symbol, price, size, side))
        elif case.family in TOUCH:
            bid, ask = (row[at] for at in TOUCH[case.family])
            answer.tickers[symbol] = bid, ask
        elif case.family in MARKS:
            answer.marks[symbol] = row[1]
    return answer


def _take_book(frame: bytes, case: "Case", symbols: list[str], answer: Answer) -> None:
    for n, row in enumerate(case.columns([frame], case.ids).tolist()):
        symbol = symbols[int(row[0])]
        if symbol not in answer.books or (n == 0 and case.family in WINDOWS):
            answer.books[symbol] = {}, {}
        _set(answer.books[symbol][int(row[SIDE])], row[PRICE], row[SIZE])


def _set(levels: Levels, price: float, size: float) -> None:
    if size:
        levels[price] = size
    else:
        levels.pop(price, None)
