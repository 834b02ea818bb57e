"""Stage 1 of 8: Aevo's instruments, read from the bodies of /markets."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "aevo"
REST_URL: str = "https://api.aevo.xyz"

# Ours: the venue's pages do not say how the settlement price is made. Half an hour is what every
# other venue of these coins averages over.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # Ours: finer than the documented prices of two decimals.
KINDS: Final = {"OPTION": ListingKind.OPTION, "PERPETUAL": ListingKind.PERP}

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Instrument(Struct, gc=False):
    """The fields of one instrument that we use."""

    instrument_type: str
    instrument_name: str = ""
    underlying_asset: str = ""
    quote_asset: str = ""
    is_active: bool = True
    price_step: Positive | None = None
    amount_step: Positive | None = None
    option_type: Literal["call", "put"] | None = None
    expiry: Annotated[int, Meta(ge=0, le=INT64_MAX)] | None = None  # ns
    strike: str | None = None  # text, because identity never passes through a float


_read_body: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
# Not strict: numbers are read from their text.
_read_instrument: Final = msgspec.json.Decoder(_Instrument, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list the options of some assets; of all if none is named."""
    if not underlyings:
        return (HttpRequest("instruments options", "/markets?instrument_type=OPTION"),)
    return tuple(_question(asset, "OPTION") for asset in dict.fromkeys(underlyings))


def instruments(body: bytes) -> Discovery:
    """Read one body of /markets; index listings of its assets come last.

    Options raise the question for the perpetuals of their assets: the venue lists hundreds more.
    Options and perpetuals become listings. Other kinds are counted in `left_out` under their own
    name, what is not traded as `inactive`, entries that cannot be read as `malformed`. Names that
    contradict the fields are reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not a list.
    """
    try:
        entries = _read_body(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} markets: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
    # One index an asset, whatever its instruments are quoted in.
    assets = dict(sorted((one.underlying, one.price_ccy) for one in found.listings))
    optioned = {one.underlying for one in found.listings if one.kind == ListingKind.OPTION}
    found.further = tuple(_question(asset, "PERPETUAL") for asset in sorted(optioned))
    found.listings += [_index(asset, price_ccy) for asset, price_ccy in assets.items()]
    return found


def index_symbol(asset: str) -> str:
    """Our name for the index of an asset, which the venue calls by the asset alone.

    >>> index_symbol("ETH")
    'ETH/INDEX'
    """
    return f"{asset}/INDEX"


def _question(asset: str, kind: str) -> HttpRequest:
    path = f"/markets?asset={quote(asset, safe='')}&instrument_type={kind}"
    return HttpRequest(f"instruments {asset} {kind.lower()}", path)


def _add(entry: bytes, found: Discovery) -> None:
    try:
        instrument = _read_instrument(entry)
        if instrument.instrument_type not in KINDS:
            reason = instrument.instrument_type[:32].lower()
        elif not instrument.is_active:
            reason = "inactive"
        else:
            listing = _listing(instrument)
            check_listing(listing)
            found.listings.append(listing)
            if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
                found.conflicts.append(f"{NAME} {listing.symbol}: fields say {listing.contract}")
            return
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.leave_out(reason)


def _listing(instrument: _Instrument) -> Listing:
    """Turn the venue's fields into ours: prices in its stablecoin, sizes in coins.

    Raises:
        SymbolError: a strike that is no decimal number.
    """
    kind = KINDS[instrument.instrument_type]
    option = kind == ListingKind.OPTION
    return Listing(
        venue=NAME,
        symbol=instrument.instrument_name,
        kind=kind,
        underlying=instrument.underlying_asset,
        multiplier=1.0,
        price_ccy=instrument.quote_asset,
        settle="linear",
        tick=instrument.price_step or 0.0,  # which check_listing refuses
        expiry_ns=instrument.expiry if option else None,
        strike_e9=exact_e9(instrument.strike or "") if option else None,
        right={"call": "C", "put": "P"}.get(instrument.option_type or "") if option else None,
        style="european" if option else None,
        lot=instrument.amount_step,
        settle_window_s=SETTLE_WINDOW_S if option else None,
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


def _index(asset: str, price_ccy: str) -> Listing:
    return Listing(
        venue=NAME,
        symbol=index_symbol(asset),
        kind=ListingKind.INDEX,
        underlying=asset,
        multiplier=1.0,
        price_ccy=price_ccy,
        settle="linear",
        tick=INDEX_TICK,
    )
