"""Stage 1 of 8: Binance's options, read from the body of eapi/v1/exchangeInfo."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.contract import INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import default_expiry_ns, parse
from feeds.venue import Discovery, HttpRequest
from feeds.venues.binance.wire import index_symbol

NAME: str = "binance"
REST_URL: str = "https://eapi.binance.com"

# The settlement price is the average of the index over the last half hour.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # finest step seen in recorded index prices
NS_PER_MS: Final = 1_000_000
TRADING: Final = ("", "TRADING")

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Filter(Struct, gc=False):
    filterType: str  # noqa: N815 - the venue's word
    tickSize: Positive | None = None  # noqa: N815
    stepSize: Positive | None = None  # noqa: N815


class _Symbol(Struct, gc=False, rename="camel"):
    """The fields of one option that we use."""

    symbol: str
    underlying: str
    side: Literal["CALL", "PUT"]
    strike_price: str  # text, because identity never passes through a float
    expiry_date: Annotated[int, Meta(ge=0, le=2**53)]
    unit: Positive
    quote_asset: str
    filters: list[_Filter] = []
    min_qty: Positive | None = None
    status: str = ""


class _Body(Struct, gc=False, rename="camel"):
    option_symbols: list[msgspec.Raw]


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_symbol: Final = msgspec.json.Decoder(_Symbol, strict=False).decode


def discovery(_underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """The one GET that lists the options of every underlying."""
    return (HttpRequest("instruments", "/eapi/v1/exchangeInfo"),)


def instruments(body: bytes) -> Discovery:
    """Read exchangeInfo; index listings of its underlyings come last.

    Entries that cannot be read are counted in `left_out` as `malformed`, those that do not trade
    under their status. Names that contradict the fields are reported in `conflicts`, and the
    fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list of options.
    """
    try:
        entries = _read_body(body).option_symbols
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} exchangeInfo: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
    found.listings += _index_listings(found.listings)
    return found


def pair_of(listing: Listing) -> str:
    """Pair behind an option: BTCUSDT."""
    return f"{listing.underlying}{listing.price_ccy}"


def _add(entry: bytes, found: Discovery) -> None:
    try:
        symbol = _read_symbol(entry)
        if symbol.status not in TRADING:
            reason = symbol.status[:32].lower()
            found.leave_out(reason)
            return
        listing = _listing(symbol)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    if _named_otherwise(listing):
        found.conflicts.append(
            f"{NAME} {listing.symbol}: fields say strike_e9 {listing.strike_e9} {listing.right} "
            f"expiry_ns {listing.expiry_ns}"
        )


def _listing(symbol: _Symbol) -> Listing:
    """Turn the venue's fields into ours: a contract and its price cover `unit` coins.

    Raises:
        SymbolError: a strike that is no decimal, an expiry beyond int64, an underlying that does
            not end in its quote asset, or no tick size.
    """
    coin = symbol.underlying.removesuffix(symbol.quote_asset)
    if not coin or coin == symbol.underlying:
        raise SymbolError(
            f"{NAME} {symbol.symbol}: underlying was {symbol.underlying!r}, expected one that "
            f"ends in {symbol.quote_asset!r}"
        )
    expiry_ns = symbol.expiry_date * NS_PER_MS
    if expiry_ns > INT64_MAX:
        raise SymbolError(f"{NAME} {symbol.symbol}: expiry_ns was {expiry_ns}, expected an int64")
    ticks = [f.tickSize for f in symbol.filters if f.filterType == "PRICE_FILTER" and f.tickSize]
    if not ticks:
        raise SymbolError(f"{NAME} {symbol.symbol}: tickSize was missing, expected a PRICE_FILTER")
    return Listing(
        venue=NAME,
        symbol=symbol.symbol,
        kind=ListingKind.OPTION,
        underlying=coin,
        multiplier=symbol.unit,
        price_ccy=symbol.quote_asset,
        settle="linear",
        tick=ticks[0],
        expiry_ns=expiry_ns,
        strike_e9=exact_e9(symbol.strike_price),
        right="C" if symbol.side == "CALL" else "P",
        style="european",
        price_per=symbol.unit,
        lot=symbol.min_qty,
        settle_window_s=SETTLE_WINDOW_S,
    )


def _index_listings(options: Iterable[Listing]) -> list[Listing]:
    """One INDEX listing per pair, in name order."""
    owners = {pair_of(option): option for option in options}
    return [
        Listing(
            venue=NAME,
            symbol=index_symbol(pair),
            kind=ListingKind.INDEX,
            underlying=owner.underlying,
            multiplier=1.0,
            price_ccy=owner.price_ccy,
            settle="linear",
            tick=INDEX_TICK,
        )
        for pair, owner in sorted(owners.items())
    ]


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields."""
    try:
        parsed = parse(NAME, listing.symbol)
    except SymbolError:
        return True
    return (parsed.underlying, parsed.strike_e9, parsed.right, default_expiry_ns(parsed)) != (
        listing.underlying, listing.strike_e9, listing.right, listing.expiry_ns,
    )  # fmt: skip
