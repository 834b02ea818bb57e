"""Stage 1 of 8: Binance's perpetuals and futures, read from the body of fapi/v1/exchangeInfo."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing
from feeds.errors import FrameError, SymbolError
from feeds.venue import Discovery, HttpRequest
from feeds.venues.binance.wire import index_symbol

NAME: str = "binance_futures"
REST_URL: str = "https://fapi.binance.com"

# A future settles to the average of the index over the last half hour, since 2024-11-11.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # finest step in documented index prices
NS_PER_MS: Final = 1_000_000
TRADING: Final = "TRADING"
KINDS: Final = {
    "PERPETUAL": ListingKind.PERP,
    "CURRENT_MONTH": ListingKind.FUTURE,
    "NEXT_MONTH": ListingKind.FUTURE,
    "CURRENT_QUARTER": ListingKind.FUTURE,
    "NEXT_QUARTER": ListingKind.FUTURE,
}
DOLLARS: Final = frozenset({"USDT", "USDC"})


class _Filter(Struct, gc=False, rename="camel"):
    filter_type: str
    tick_size: float | None = None
    min_qty: float | None = None


class _Symbol(Struct, gc=False, rename="camel"):
    """The fields of one instrument that we use."""

    symbol: str
    pair: str
    contract_type: str
    status: str
    delivery_date: Annotated[int, Meta(ge=0, le=2**53)]  # of a perpetual it means nothing
    base_asset: str
    quote_asset: str
    margin_asset: str
    filters: list[_Filter] = []


class _Body(Struct, gc=False):
    symbols: list[msgspec.Raw]


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_symbol: Final = msgspec.json.Decoder(_Symbol, strict=False).decode


def discovery(_underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """The one GET that lists the instruments of every underlying."""
    return (HttpRequest("instruments", "/fapi/v1/exchangeInfo"),)


def instruments(body: bytes) -> Discovery:
    """Read exchangeInfo; index listings of its perpetuals come last.

    What does not trade is counted in `left_out` under its status, perpetuals on shares and other
    types under the type, what is not quoted in USDT or USDC as `quoted in ..`, what is paid in
    another coin as `paid in ..`, entries that cannot be read as `malformed`. Names that contradict
    the fields are reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list of instruments.
    """
    try:
        entries = _read_body(body).symbols
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} exchangeInfo: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
    found.listings += [_index(perp) for perp in found.listings if perp.kind == ListingKind.PERP]
    return found


def _add(entry: bytes, found: Discovery) -> None:
    try:
        symbol = _read_symbol(entry)
        reason = _why_left_out(symbol)
        if reason is not None:
            found.leave_out(reason)
            return
        listing = _listing(symbol)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    expected = _name_of(listing)
    if (symbol.symbol, symbol.pair) != (expected, f"{symbol.base_asset}{symbol.quote_asset}"):
        found.conflicts.append(
            f"{NAME} {symbol.symbol}: pair was {symbol.pair!r}, and its fields make it {expected}"
        )


def _why_left_out(symbol: _Symbol) -> str | None:
    if symbol.status != TRADING:
        return symbol.status[:32].lower()
    if symbol.contract_type not in KINDS:
        return symbol.contract_type[:32].lower() or "no type"
    if symbol.quote_asset not in DOLLARS:
        return f"quoted in {symbol.quote_asset[:32]}"
    if symbol.margin_asset != symbol.quote_asset:
        return f"paid in {symbol.margin_asset[:32]}"
    return None


def _listing(symbol: _Symbol) -> Listing:
    """Turn the venue's fields into ours: sizes are coins, prices are for one coin.

    Raises:
        SymbolError: an expiry beyond int64, or no tick size.
    """
    kind = KINDS[symbol.contract_type]
    expiry_ns = symbol.delivery_date * NS_PER_MS if kind == ListingKind.FUTURE else None
    if expiry_ns is not None and not 0 < expiry_ns <= INT64_MAX:
        raise SymbolError(f"{NAME} {symbol.symbol}: expiry_ns was {expiry_ns}, expected an int64")
    tick = _of_filter(symbol, "PRICE_FILTER", "tick_size")
    if tick is None:
        raise SymbolError(f"{NAME} {symbol.symbol}: tickSize was missing, expected a PRICE_FILTER")
    return Listing(
        venue=NAME,
        symbol=symbol.symbol,
        kind=kind,
        underlying=symbol.base_asset,
        multiplier=1.0,
        price_ccy=symbol.quote_asset,
        settle="linear",
        tick=tick,
        expiry_ns=expiry_ns,
        lot=_of_filter(symbol, "LOT_SIZE", "min_qty"),
        settle_window_s=None if expiry_ns is None else SETTLE_WINDOW_S,
    )


def _of_filter(symbol: _Symbol, name: str, field: str) -> float | None:
    """A field of the first filter of a name; None where it is missing."""
    return next((getattr(f, field) for f in symbol.filters if f.filter_type == name), None)


def _name_of(listing: Listing) -> str:
    """What the venue calls such a listing: BTCUSDT, BTCUSDT_261225."""
    pair = f"{listing.underlying}{listing.price_ccy}"
    if listing.expiry_ns is None:
        return pair
    return f"{pair}_{datetime.fromtimestamp(listing.expiry_ns // E9, UTC):%y%m%d}"


def _index(perpetual: Listing) -> Listing:
    return Listing(
        venue=NAME,
        symbol=index_symbol(perpetual.symbol),
        kind=ListingKind.INDEX,
        underlying=perpetual.underlying,
        multiplier=1.0,
        price_ccy=perpetual.price_ccy,
        settle="linear",
        tick=INDEX_TICK,
    )
