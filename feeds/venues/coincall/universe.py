"""Stage 1 of 8: Coincall's options, read from the bodies of option/getInstruments."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import ParsedSymbol, parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "coincall"
REST_URL: str = "https://api.coincall.com"

# Asked for where nobody names underlyings: a question is about one coin.
COINS: Final = ("BTC", "ETH", "SOL")
QUOTE: Final = "USD"
SETTLE_WINDOW_S: Final = 1800.0  # the mean index of the last half hour settles
INDEX_TICK: Final = 1e-8  # finer than any index price in the documentation
NS_PER_MS: Final = 1_000_000

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Instrument(Struct, gc=False, rename="camel"):
    """The fields of one instrument that we use; its right is in the name alone."""

    base_currency: str
    expiration_timestamp: Annotated[int, Meta(gt=0, le=(2**63 - 1) // NS_PER_MS)]
    strike: msgspec.Raw  # a number: read from its digits
    symbol_name: str
    is_active: bool
    min_qty: Positive
    tick_size: Positive


class _Body(Struct, gc=False):
    code: int
    msg: str | None = None
    data: list[msgspec.Raw] | None = None


_read_body: Final = msgspec.json.Decoder(_Body).decode
# Not strict: numbers may be text.
_read_instrument: Final = msgspec.json.Decoder(_Instrument, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list the options of some coins; of COINS if none."""
    return tuple(
        HttpRequest(f"instruments {coin}", f"/open/option/getInstruments/{quote(coin, safe='')}")
        for coin in dict.fromkeys(underlyings or COINS)
    )


def instruments(body: bytes) -> Discovery:
    """Read a body of getInstruments; index listings of its coins come last.

    Entries that cannot be read are counted in `left_out` as `malformed`, those that do not trade as
    `inactive`. Names that contradict the fields are reported in `conflicts`, and the fields are
    trusted.

    Raises:
        FrameError: the body is not an answer with a list of instruments.
    """
    try:
        answer = _read_body(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} getInstruments: {error}", body) from error
    if answer.code != 0 or answer.data is None:
        raise FrameError(
            f"{NAME} getInstruments: code was {answer.code} {(answer.msg or '')[:128]!r}, expected "
            "0 and a list",
            body,
        )
    found = Discovery()
    for entry in answer.data:
        _add(bytes(entry), found)
    found.listings += [_index(coin) for coin in sorted({x.underlying for x in found.listings})]
    return found


def root_of(coin: str) -> str:
    """The venue's name of an underlying.

    >>> root_of("BTC")
    'BTCUSD'
    """
    return f"{coin}{QUOTE}"


def index_symbol(root: str) -> str:
    """Our name for the index of an underlying, which the venue does not name.

    >>> index_symbol("BTCUSD")
    'BTCUSD/INDEX'
    """
    return f"{root}/INDEX"


def _add(entry: bytes, found: Discovery) -> None:
    try:
        instrument = _read_instrument(entry)
        if instrument.is_active:
            named = parse(NAME, instrument.symbol_name)
            listing = _listing(instrument, named.right)
            check_listing(listing)
            found.listings.append(listing)
            if _named_otherwise(listing, named):
                found.conflicts.append(f"{NAME} {listing.symbol}: fields say {listing.contract}")
            return
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.leave_out("inactive")


def _listing(instrument: _Instrument, right: str) -> Listing:
    """Turn the venue's fields into ours: prices in USD a coin, sizes in coins.

    Raises:
        SymbolError: a strike that is no plain number.
    """
    return Listing(
        venue=NAME,
        symbol=instrument.symbol_name,
        kind=ListingKind.OPTION,
        underlying=instrument.base_currency,
        multiplier=1.0,
        price_ccy=QUOTE,
        settle="linear",
        tick=instrument.tick_size,
        expiry_ns=instrument.expiration_timestamp * NS_PER_MS,
        strike_e9=exact_e9(bytes(instrument.strike).strip(b'"').decode()),
        right=right,
        style="european",
        lot=instrument.min_qty,
        settle_window_s=SETTLE_WINDOW_S,
    )


def _named_otherwise(option: Listing, name: ParsedSymbol) -> bool:
    """Say whether an option's name contradicts its fields; of the expiry only the day can."""
    assert option.expiry_ns is not None
    day = datetime.fromtimestamp(option.expiry_ns // E9, UTC).date()
    return (name.underlying, name.day, name.strike_e9) != (
        option.underlying, day, option.strike_e9,
    )  # fmt: skip


def _index(coin: str) -> Listing:
    return Listing(
        venue=NAME,
        symbol=index_symbol(root_of(coin)),
        kind=ListingKind.INDEX,
        underlying=coin,
        multiplier=1.0,
        price_ccy=QUOTE,
        settle="linear",
        tick=INDEX_TICK,
    )
