"""Stage 1 of 8: Derive's instruments, read from the bodies of public/get_all_instruments."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "derive"
# Version 2 of the API. Version 3 (https://api.derive.xyz/v3) answers in the same shapes.
REST_URL: str = "https://api.lyra.finance"

KINDS: Final = {"option": ListingKind.OPTION, "perp": ListingKind.PERP}
PAGE_SIZE_MAX: Final = 1000  # the venue's
PAGES_MAX: Final = 400  # beyond it the sizes below no longer tell the pages apart
# Options settle to the average of the spot feed over the last half hour.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 0.01  # ours: a spot feed has up to 18 decimals

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _OptionDetails(Struct, gc=False):
    index: str
    expiry: Annotated[int, Meta(gt=0, lt=7_258_118_400)]  # s; before the year 2200
    strike: str  # text, because identity never passes through a float
    option_type: Literal["C", "P"]


class _PerpDetails(Struct, gc=False):
    index: str


class _Instrument(Struct, gc=False):
    """The fields of one instrument that we use."""

    instrument_type: str
    instrument_name: str = ""
    is_active: bool = True
    base_currency: str = ""
    quote_currency: str = ""
    tick_size: Positive | None = None
    amount_step: Positive | None = None
    option_details: _OptionDetails | None = None
    perp_details: _PerpDetails | None = None


class _Pagination(Struct, gc=False):
    count: Annotated[int, Meta(ge=0, le=10**6)]  # of instruments on all pages


class _Page(Struct, gc=False):
    instruments: list[msgspec.Raw]
    pagination: _Pagination


class _Body(Struct, gc=False):
    """get_instruments (version 2 alone) answers with a list, get_all_instruments with a page."""

    result: list[msgspec.Raw] | _Page


_read_body: Final = msgspec.json.Decoder(_Body).decode
# Not strict: numbers are read from their text.
_read_instrument: Final = msgspec.json.Decoder(_Instrument, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:  # noqa: ARG001 - all in one list
    """POSTs whose bodies list the options and perpetuals of all underlyings, whichever are named.

    One list of all is three pages; one of each underlying would not say in its answer which one
    the next page is to be asked of.
    """
    return tuple(_question(kind, 1) for kind in KINDS)


def instruments(body: bytes) -> Discovery:
    """Read the body of get_all_instruments; index listings of its underlyings come last.

    Options and perpetuals become listings. Other kinds are counted in `left_out` under their own
    name, instruments that are not traded as `inactive`, entries that cannot be read as
    `malformed`. Names that contradict the fields are reported in `conflicts`, and the fields are
    trusted.

    Raises:
        FrameError: the body is not an answer with instruments, or a page of a size we never asked
            for.
    """
    try:
        result = _read_body(body).result
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} get_all_instruments: {error}", body) from error
    entries = result.instruments if isinstance(result, _Page) else result
    found = Discovery()
    kinds = [kind for entry in entries if (kind := _add(bytes(entry), found)) is not None]
    found.listings += index_listings(found.listings)
    if isinstance(result, _Page):
        page = next_page(len(entries), result.pagination.count)
        if page is not None and not kinds:
            raise FrameError(f"{NAME} get_all_instruments: no instrument could be read", body)
        found.following = None if page is None else _question(kinds[0], page)
    return found


def page_size(page: int) -> int:
    """Instruments asked for on a page: 1000, 999, 998, ...

    An answer does not say which page it is, but a full page says it by its length. Page k begins
    at instrument (k - 1) x size, before the end of the page before it: a few instruments come
    twice and none is left out.
    """
    return PAGE_SIZE_MAX + 1 - page


def next_page(length: int, count: int) -> int | None:
    """Page to ask for after one of some length; None after the last.

    >>> next_page(1000, 2166), next_page(999, 2166), next_page(2166 - 2 * 998, 2166)
    (2, 3, None)

    Raises:
        FrameError: no page that is asked for can have that length.
    """
    pages = range(1, PAGES_MAX + 1)
    if length and (page := PAGE_SIZE_MAX + 1 - length) in pages and page * length < count:
        return page + 1
    if any((page - 1) * page_size(page) + length == count for page in pages):
        return None
    raise FrameError(
        f"{NAME} get_all_instruments: a page had {length} of {count} instruments, expected "
        f"{PAGE_SIZE_MAX}, {PAGE_SIZE_MAX - 1}, ... or the rest"
    )


def index_listings(listings: Iterable[Listing]) -> list[Listing]:
    """One INDEX listing per underlying of the options and perpetuals, in name order."""
    return [
        Listing(
            venue=NAME,
            symbol=index_name(underlying),
            kind=ListingKind.INDEX,
            underlying=underlying,
            multiplier=1.0,
            price_ccy="USD",
            settle="linear",
            tick=INDEX_TICK,
        )
        for underlying in sorted({listing.underlying for listing in listings})
    ]


def index_name(currency: str) -> str:
    """Index of a currency, by the venue's own name.

    >>> index_name("ETH")
    'ETH-USD'
    """
    return f"{currency}-USD"


def _question(kind: str, page: int) -> HttpRequest:
    body = {"expired": False, "instrument_type": kind, "page": page, "page_size": page_size(page)}
    return HttpRequest(
        f"instruments {kind} page {page}",
        "/public/get_all_instruments",
        msgspec.json.encode(body),
    )


def _add(entry: bytes, found: Discovery) -> str | None:
    """Take one instrument or count why not; returns its kind, None if it cannot be read."""
    kind = None
    try:
        instrument = _read_instrument(entry)
        kind = instrument.instrument_type
        if kind not in KINDS:
            reason = kind[:32]
        elif not instrument.is_active:
            reason = "inactive"
        else:
            listing = _listing(instrument)
            check_listing(listing)
            found.listings.append(listing)
            found.conflicts += _conflicts(listing, instrument)
            return kind
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return kind
    found.leave_out(reason)
    return kind


def _listing(instrument: _Instrument) -> Listing:
    """Turn the venue's fields into ours: prices in USDC, sizes in coins."""
    kind = KINDS[instrument.instrument_type]
    option = instrument.option_details if kind == ListingKind.OPTION else None
    return Listing(
        venue=NAME,
        symbol=instrument.instrument_name,
        kind=kind,
        underlying=instrument.base_currency,
        multiplier=1.0,
        price_ccy=instrument.quote_currency,
        settle="linear",
        tick=instrument.tick_size or 0.0,  # which check_listing refuses
        expiry_ns=option.expiry * E9 if option else None,
        strike_e9=exact_e9(option.strike) if option else None,
        right=option.option_type if option else None,
        style="european" if option else None,
        lot=instrument.amount_step,
        settle_window_s=SETTLE_WINDOW_S if option else None,
    )


def _conflicts(listing: Listing, instrument: _Instrument) -> list[str]:
    """What the name says otherwise than the fields; an index of another name than its currency."""
    found = []
    details = instrument.option_details or instrument.perp_details
    if details is not None and details.index != index_name(listing.underlying):
        found.append(f"{NAME} {listing.symbol}: fields say index {details.index[:64]}")
    contract = listing.contract
    if contract is not None and _named_otherwise(listing):
        found.append(f"{NAME} {listing.symbol}: fields say {contract}")
    return found


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields.

    Of the expiry only the day can: options on shares do not expire at the hour of the others.
    """
    assert listing.expiry_ns is not None
    day = datetime.fromtimestamp(listing.expiry_ns // E9, UTC).date()
    try:
        name = parse(NAME, listing.symbol)
    except SymbolError:
        return True
    wanted = (listing.underlying, day, listing.strike_e9, listing.right)
    return (name.underlying, name.day, name.strike_e9, name.right) != wanted
