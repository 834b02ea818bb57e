"""Stage 1 of 8: Thalex's instruments, read from the body of public/instruments."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "thalex"
REST_URL: str = "https://thalex.com/api/v2"

# The settlement price is the average of the index from 07:30 to 08:00 UTC.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # Ours: the documented prices of indexes have eleven decimals.
KINDS: Final = {
    "option": ListingKind.OPTION,
    "future": ListingKind.FUTURE,
    "perpetual": ListingKind.PERP,
}

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Instrument(Struct, gc=False):
    """The fields of one instrument that we use."""

    type: str
    instrument_name: str = ""
    underlying: str = ""  # the index, e.g. BTCUSD
    base_currency: str = ""  # what prices are in, e.g. USD
    tick_size: Positive | None = None
    volume_tick_size: Positive | None = None
    option_type: Literal["call", "put"] | None = None
    expiration_timestamp: Annotated[int, Meta(ge=0, lt=7_258_118_400)] | None = None  # s
    strike_price: msgspec.Raw = msgspec.Raw()  # text, because identity never passes through a float


class _Body(Struct, gc=False):
    result: list[msgspec.Raw]


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_instrument: Final = msgspec.json.Decoder(_Instrument).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:  # noqa: ARG001 - all in one list
    """The GET whose body lists the instruments of all underlyings, whichever are named."""
    return (HttpRequest("instruments", "/public/instruments"),)


def instruments(body: bytes) -> Discovery:
    """Read the body of public/instruments; index listings come last.

    Options, futures and perpetuals become listings. Combinations and kinds that nobody knows are
    counted in `left_out` under their own name, entries that cannot be read as `malformed`. Names
    that contradict the fields are reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list.
    """
    try:
        entries = _read_body(body).result
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} public/instruments: {error}", body) from error
    found = Discovery()
    indexes: dict[str, Listing] = {}
    for entry in entries:
        _add(bytes(entry), found, indexes)
    found.listings += [indexes[name] for name in sorted(indexes)]
    return found


def _add(entry: bytes, found: Discovery, indexes: dict[str, Listing]) -> None:
    try:
        instrument = _read_instrument(entry)
        if instrument.type in KINDS:
            listing = _listing(instrument)
            check_listing(listing)
            found.listings.append(listing)
            if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
                found.conflicts.append(f"{NAME} {listing.symbol}: fields say {listing.contract}")
            indexes[instrument.underlying] = _index(instrument.underlying, listing)
            return
        reason = instrument.type[:32]
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.leave_out(reason)


def _listing(instrument: _Instrument) -> Listing:
    """Turn the venue's fields into ours: prices in USD, sizes in coins.

    Raises:
        SymbolError: a strike that is no decimal number, an index that is not of the currency.
    """
    kind = KINDS[instrument.type]
    option = kind == ListingKind.OPTION
    expiry_s = None if kind == ListingKind.PERP else instrument.expiration_timestamp
    coin = instrument.underlying.removesuffix(instrument.base_currency)
    if coin == instrument.underlying:
        raise SymbolError(
            f"{NAME} {instrument.instrument_name}: underlying was {coin[:64]!r}, expected one that "
            f"ends in {instrument.base_currency[:64]!r}"
        )
    return Listing(
        venue=NAME,
        symbol=instrument.instrument_name,
        kind=kind,
        underlying=coin,
        multiplier=1.0,
        price_ccy=instrument.base_currency,
        settle="linear",
        tick=instrument.tick_size or 0.0,  # which check_listing refuses
        expiry_ns=None if expiry_s is None else expiry_s * E9,
        strike_e9=exact_e9(bytes(instrument.strike_price).decode()) if option else None,
        right={"call": "C", "put": "P"}.get(instrument.option_type or "") if option else None,
        style="european" if option else None,
        lot=instrument.volume_tick_size,
        settle_window_s=None if kind == ListingKind.PERP else SETTLE_WINDOW_S,
    )


def _named_otherwise(option: Listing) -> bool:
    """Say whether an option's name contradicts its fields; of the expiry only the day can."""
    assert option.expiry_ns is not None
    day = datetime.fromtimestamp(option.expiry_ns // E9, UTC).date()
    try:
        name = parse(NAME, option.symbol)
    except SymbolError:
        return True
    wanted = (option.underlying, day, option.strike_e9, option.right)
    return (name.underlying, name.day, name.strike_e9, name.right) != wanted


def _index(name: str, of: Listing) -> Listing:
    return Listing(
        venue=NAME,
        symbol=name,
        kind=ListingKind.INDEX,
        underlying=of.underlying,
        multiplier=1.0,
        price_ccy=of.price_ccy,
        settle="linear",
        tick=INDEX_TICK,
    )
