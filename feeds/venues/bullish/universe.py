"""Stage 1 of 8: Bullish's markets, read from the bodies of /v1/markets."""

import calendar
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "bullish"
REST_URL: str = "https://api.exchange.bullish.com/trading-api"

KINDS: Final = {
    "OPTION": ListingKind.OPTION,
    "PERPETUAL": ListingKind.PERP,
    "DATED_FUTURE": ListingKind.FUTURE,
}
RIGHTS: Final = {"CALL": "C", "PUT": "P"}
INDEX_CCY: Final = "USD"
INDEX_TICK: Final = 0.0001  # decimals of the index prices that are documented

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Market(Struct, gc=False, rename="camel"):
    """The fields of one market that we use; numbers are text."""

    symbol: str
    market_type: str
    market_enabled: bool = False
    underlying_base_symbol: str = ""
    underlying_quote_symbol: str = ""
    tick_size: Positive | None = None
    min_quantity_limit: Positive | None = None
    contract_multiplier: Positive | None = None
    expiry_datetime: Annotated[datetime, Meta(tz=True)] | None = None
    option_strike_price: str | None = None
    option_type: str | None = None


_read_body: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_market: Final = msgspec.json.Decoder(_Market, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:  # noqa: ARG001 - the protocol's
    """GETs whose bodies list the options, perpetuals and futures.

    The venue has no filter by underlying, so the bodies name more than asked.
    """
    return tuple(HttpRequest(f"markets {kind}", f"/v1/markets?marketType={kind}") for kind in KINDS)


def instruments(body: bytes) -> Discovery:
    """Read the body of /v1/markets; index listings of its underlyings come last.

    Other kinds are counted in `left_out` under their own name, markets that are not enabled as
    `disabled`, entries that cannot be read as `malformed`. Names that contradict the fields are
    reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not a list of markets.
    """
    try:
        entries = _read_body(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} markets: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
    found.listings += _index_listings({listing.underlying for listing in found.listings})
    return found


def _index_listings(underlyings: Iterable[str]) -> Iterable[Listing]:
    """One INDEX listing per underlying, in name order; its symbol is the asset's."""
    for asset in sorted(underlyings):
        yield Listing(
            venue=NAME,
            symbol=asset,
            kind=ListingKind.INDEX,
            underlying=asset,
            multiplier=1.0,
            price_ccy=INDEX_CCY,
            settle="linear",
            tick=INDEX_TICK,
        )


def _add(entry: bytes, found: Discovery) -> None:
    try:
        market = _read_market(entry)
        reason = _why_left_out(market)
        if reason is not None:
            found.leave_out(reason)
            return
        listing = _listing(market)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
        found.conflicts.append(
            f"{NAME} {listing.symbol}: fields say {listing.underlying}, expiry_ns "
            f"{listing.expiry_ns}, strike_e9 {listing.strike_e9}, {listing.right}"
        )


def _why_left_out(market: _Market) -> str | None:
    if market.market_type not in KINDS:
        return market.market_type[:32]
    return None if market.market_enabled else "disabled"


def _listing(market: _Market) -> Listing:
    """Turn the venue's fields into ours. Sizes are coins, times a multiplier where one is given.

    Raises:
        SymbolError: a strike that cannot be read, or an expiry beyond int64.
    """
    kind = KINDS[market.market_type]
    option = kind == ListingKind.OPTION
    return Listing(
        venue=NAME,
        symbol=market.symbol,
        kind=kind,
        underlying=market.underlying_base_symbol,
        multiplier=market.contract_multiplier or 1.0,
        price_ccy=market.underlying_quote_symbol,
        settle="linear",
        tick=market.tick_size or 0.0,
        expiry_ns=None if kind == ListingKind.PERP else _expiry_ns(market),
        strike_e9=exact_e9(market.option_strike_price or "") if option else None,
        right=RIGHTS.get(market.option_type or "") if option else None,
        style="european" if option else None,
        lot=market.min_quantity_limit,
    )


def _expiry_ns(market: _Market) -> int | None:
    """Instant of expiry.

    Raises:
        SymbolError: beyond int64.
    """
    moment = market.expiry_datetime
    if moment is None:
        return None
    expiry_ns = calendar.timegm(moment.utctimetuple()) * E9 + moment.microsecond * 1000
    if expiry_ns > INT64_MAX:
        raise SymbolError(
            f"{NAME} {market.symbol}: expiryDatetime was {moment}, expected before 2262"
        )
    return expiry_ns


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields (BTC-USDC-20260425-70000-C)."""
    try:
        name = parse(NAME, listing.symbol)
    except SymbolError:
        return True
    assert listing.expiry_ns is not None  # check_listing refuses an option without
    day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC).date()
    told = (name.underlying, name.quote, name.day, name.strike_e9, name.right)
    fields = (listing.underlying, listing.price_ccy, day, listing.strike_e9, listing.right)
    return told != fields
