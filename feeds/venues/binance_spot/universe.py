"""Stage 1 of 8: Binance's spot pairs, read from the body of api/v3/exchangeInfo."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from feeds.contract import Listing, ListingKind, check_listing
from feeds.errors import FrameError, SymbolError
from feeds.venue import Discovery, HttpRequest

NAME: str = "binance_spot"
REST_URL: str = "https://api.binance.com"
# The sets of permissions are most of the body. Symbols cannot be named: one that does not exist
# makes the venue refuse the whole question.
DISCOVERY_PATH: Final = (
    "/api/v3/exchangeInfo?permissions=SPOT&symbolStatus=TRADING&showPermissionSets=false"
)
TRADING: Final = "TRADING"
DOLLARS: Final = frozenset({"USDT", "USDC"})


class _Filter(Struct, gc=False, rename="camel"):
    filter_type: str
    tick_size: float | None = None
    min_qty: float | None = None


class _Symbol(Struct, gc=False, rename="camel"):
    """The fields of one pair that we use."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    is_spot_trading_allowed: bool
    filters: list[_Filter] = []


class _Body(Struct, gc=False):
    symbols: list[msgspec.Raw]


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_symbol: Final = msgspec.json.Decoder(_Symbol, strict=False).decode


def discovery(_underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """The one GET that lists the pairs of every underlying."""
    return (HttpRequest("instruments", DISCOVERY_PATH),)


def instruments(body: bytes) -> Discovery:
    """Read exchangeInfo.

    What does not trade is counted in `left_out` under its status, what is not quoted in USDT or
    USDC as `quoted in ..`, what has no spot trading as `no spot`, entries that cannot be read as
    `malformed`. Names that contradict the fields are reported in `conflicts`, and the fields are
    trusted.

    Raises:
        FrameError: the body is not an answer with a list of pairs.
    """
    try:
        entries = _read_body(body).symbols
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} exchangeInfo: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
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
    pair = f"{symbol.base_asset}{symbol.quote_asset}"
    if symbol.symbol != pair:
        found.conflicts.append(f"{NAME} {symbol.symbol}: its fields make it {pair}")


def _why_left_out(symbol: _Symbol) -> str | None:
    if symbol.status != TRADING:
        return symbol.status[:32].lower() or "no status"
    if not symbol.is_spot_trading_allowed:
        return "no spot"
    return None if symbol.quote_asset in DOLLARS else f"quoted in {symbol.quote_asset[:32]}"


def _listing(symbol: _Symbol) -> Listing:
    """Turn the venue's fields into ours: sizes are coins, prices are for one coin.

    Raises:
        SymbolError: no tick size.
    """
    tick = _of_filter(symbol, "PRICE_FILTER", "tick_size")
    if tick is None:
        raise SymbolError(f"{NAME} {symbol.symbol}: tickSize was missing, expected a PRICE_FILTER")
    return Listing(
        venue=NAME,
        symbol=symbol.symbol,
        kind=ListingKind.SPOT,
        underlying=symbol.base_asset,
        multiplier=1.0,
        price_ccy=symbol.quote_asset,
        settle="linear",
        tick=tick,
        lot=_of_filter(symbol, "LOT_SIZE", "min_qty"),
    )


def _of_filter(symbol: _Symbol, name: str, field: str) -> float | None:
    """A field of the first filter of a name; None where it is missing."""
    return next((getattr(f, field) for f in symbol.filters if f.filter_type == name), None)
