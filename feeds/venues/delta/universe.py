"""Stage 1 of 8: Delta's products, read from the pages of /v2/products."""

import calendar
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

PRODUCTS_PATH: Final = (
    "/v2/products?contract_types=call_options,put_options,perpetual_futures,futures&states=live"
)
KINDS: Final = {
    "call_options": ListingKind.OPTION,
    "put_options": ListingKind.OPTION,
    "perpetual_futures": ListingKind.PERP,
    "futures": ListingKind.FUTURE,
}
RIGHTS: Final = {"call_options": "C", "put_options": "P"}

# An index of a product quoted in anything else is not in USD, which an index price must be.
DOLLARS: Final = frozenset({"USD", "USDT", "USDC"})

# Options settle to the average of the index over the last half hour (the venue's channel
# spot_30mtwap_price); what its futures settle to is not documented beside their product.
SETTLE_WINDOW_S: Final = 1800.0
# Finest step in the documented index prices (0.0014579); recorded ones have up to 15 decimals.
INDEX_TICK: Final = 1e-7

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Asset(Struct, gc=False):
    symbol: str


class _Index(Struct, gc=False):
    symbol: str


class _Product(Struct, gc=False):
    """The fields of one product that we use; all numbers are text."""

    symbol: str
    contract_type: str
    state: str
    underlying_asset: _Asset | None = None
    quoting_asset: _Asset | None = None
    spot_index: _Index | None = None
    contract_value: Positive | None = None
    tick_size: Positive | None = None
    notional_type: str = ""
    is_quanto: bool = False
    strike_price: str | None = None
    settlement_time: Annotated[datetime, Meta(tz=True)] | None = None


class _Meta(Struct, gc=False, frozen=True):
    after: str | None = None


class _Body(Struct, gc=False):
    result: list[msgspec.Raw]
    meta: _Meta = _Meta()


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_product: Final = msgspec.json.Decoder(_Product, strict=False).decode


def discovery() -> tuple[HttpRequest, ...]:
    """GET whose pages list the options, perpetuals and futures of all underlyings."""
    return (HttpRequest("products", PRODUCTS_PATH),)


def instruments(venue: str, body: bytes) -> Discovery:
    """Read one page of products; index listings of its underlyings come last.

    Other kinds are counted in `left_out` under their own name (the straddles `move_options` among
    them), products that are not live under their state, those whose contract is no amount of
    their underlying as `quanto`, those quoted in coins as `quoted in ..`, entries that cannot be
    read as `malformed`. Names that contradict the fields are reported in `conflicts`, and the
    fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list of products.
    """
    try:
        page = _read_body(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{venue} products: {error}", body) from error
    found = Discovery()
    indexes: dict[str, Listing] = {}  # index -> the first of its listings
    for entry in page.result:
        _add(venue, bytes(entry), found, indexes)
    found.listings += _index_listings(venue, indexes)
    if page.meta.after:
        path = f"{PRODUCTS_PATH}&after={quote(page.meta.after, safe='')}"
        found.following = HttpRequest("products", path)
    return found


def _index_listings(venue: str, indexes: dict[str, Listing]) -> Iterable[Listing]:
    """One INDEX listing per price index behind the products, in name order."""
    for symbol, owner in sorted(indexes.items()):
        yield Listing(
            venue=venue,
            symbol=symbol,
            kind=ListingKind.INDEX,
            underlying=owner.underlying,
            multiplier=1.0,
            price_ccy=owner.price_ccy,
            settle="linear",
            tick=INDEX_TICK,
        )


def _add(venue: str, entry: bytes, found: Discovery, indexes: dict[str, Listing]) -> None:
    try:
        product = _read_product(entry)
        reason = _why_left_out(product)
        if reason is not None:
            found.leave_out(reason)
            return
        listing = _listing(venue, product)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    if product.spot_index is not None:
        indexes.setdefault(product.spot_index.symbol, listing)
    if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
        found.conflicts.append(
            f"{venue} {listing.symbol}: fields say {listing.underlying}, expiry_ns "
            f"{listing.expiry_ns}, strike_e9 {listing.strike_e9}, {listing.right}"
        )


def _why_left_out(product: _Product) -> str | None:
    if product.contract_type not in KINDS:
        return product.contract_type[:32]
    if product.state != "live":
        return f"state {product.state[:32]}"
    if product.is_quanto:
        return "quanto"
    currency = "nothing" if product.quoting_asset is None else product.quoting_asset.symbol
    return None if currency in DOLLARS else f"quoted in {currency[:32]}"


def _listing(venue: str, product: _Product) -> Listing:
    """Turn the venue's fields into ours.

    Sizes are whole contracts. One holds `contract_value` coins; of an inverse product it holds so
    many USD, and its coins are size x value / price.

    Raises:
        SymbolError: a field that a listing of its kind needs is missing or not readable.
    """
    underlying, quoting = product.underlying_asset, product.quoting_asset
    if underlying is None or quoting is None or product.contract_value is None:
        raise SymbolError(f"{venue} {product.symbol}: underlying or contract value was missing")
    if product.notional_type not in ("vanilla", "inverse"):
        raise SymbolError(
            f"{venue} {product.symbol}: notional_type was {product.notional_type[:32]!r}, "
            "expected vanilla or inverse"
        )
    kind = KINDS[product.contract_type]
    option = kind == ListingKind.OPTION
    return Listing(
        venue=venue,
        symbol=product.symbol,
        kind=kind,
        underlying=underlying.symbol,
        multiplier=product.contract_value,
        price_ccy=quoting.symbol,
        settle="inverse" if product.notional_type == "inverse" else "linear",
        tick=product.tick_size or 0.0,
        expiry_ns=None if kind == ListingKind.PERP else _expiry_ns(venue, product),
        strike_e9=exact_e9(product.strike_price or "") if option else None,
        right=RIGHTS.get(product.contract_type),
        style="european" if option else None,
        lot=1.0,
        settle_window_s=SETTLE_WINDOW_S if option else None,
    )


def _expiry_ns(venue: str, product: _Product) -> int | None:
    """Instant of settlement.

    Raises:
        SymbolError: beyond int64.
    """
    if product.settlement_time is None:
        return None
    moment = product.settlement_time
    expiry_ns = calendar.timegm(moment.utctimetuple()) * E9 + moment.microsecond * 1000
    if expiry_ns > INT64_MAX:
        raise SymbolError(
            f"{venue} {product.symbol}: settlement_time was {moment}, expected before 2262"
        )
    return expiry_ns


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields (C-BTC-90000-310126)."""
    try:
        name = parse(listing.venue, listing.symbol)
    except SymbolError:
        return True
    assert listing.expiry_ns is not None  # check_listing refuses an option without
    day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC).date()
    told = (name.underlying, name.day, name.strike_e9, name.right)
    return told != (listing.underlying, day, listing.strike_e9, listing.right)
