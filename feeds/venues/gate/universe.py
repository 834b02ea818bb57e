"""Stage 1 of 8: Gate's options, read from the bodies of options/contracts.

Where no underlying is named, options/underlyings says which there are.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import parse
from feeds.venue import Discovery, HttpRequest

NAME: str = "gate"
REST_URL: str = "https://api.gateio.ws"

QUOTE: Final = "USDT"  # all options are quoted and settled in it
# The venue's help pages say that an average of the index settles, and not over how long: half an
# hour is what the other venues take. Too long a window keeps silent, too short a one invents.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # finer than any index price in the documentation
_UNDERLYING: Final = re.compile(r"[A-Z0-9]{1,16}_[A-Z]{1,16}")

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Contract(Struct, gc=False):
    """The fields of one contract that we use; numbers may be text."""

    name: str
    underlying: str
    expiration_time: Annotated[int, Meta(gt=0, le=INT64_MAX // E9)]  # s
    is_call: bool
    strike_price: msgspec.Raw  # a number or its text: read from its digits
    multiplier: Positive  # coins of one contract
    order_price_round: Positive
    order_size_min: Positive


class _Underlying(Struct, gc=False):
    """An entry of options/underlyings; a contract has fields beside its name and its index."""

    name: str
    expiration_time: msgspec.Raw = msgspec.Raw()


_read_body: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_underlying: Final = msgspec.json.Decoder(_Underlying).decode
# Not strict: numbers are read from their text.
_read_contract: Final = msgspec.json.Decoder(_Contract, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list the options of some coins; without any, which coins have options."""
    if not underlyings:
        return (HttpRequest("underlyings", "/api/v4/options/underlyings"),)
    return tuple(_question(f"{coin}_{QUOTE}") for coin in dict.fromkeys(underlyings))


def instruments(body: bytes) -> Discovery:
    """Read the body of options/contracts or options/underlyings; index listings come last.

    An underlying becomes the question for its contracts. Entries that cannot be read are counted
    in `left_out` as `malformed`. Names that contradict the fields are reported in `conflicts`, and
    the fields are trusted.

    Raises:
        FrameError: the body is not a list.
    """
    try:
        entries = _read_body(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} options: {error}", body) from error
    found, questions = Discovery(), dict[HttpRequest, None]()  # each once, in order
    for entry in entries:
        try:
            _add(bytes(entry), found, questions)
        except (ValueError, RecursionError, SymbolError):
            found.fail(bytes(entry))
    found.further = tuple(questions)
    found.listings += [_index(coin) for coin in sorted({x.underlying for x in found.listings})]
    return found


def index_symbol(underlying: str) -> str:
    """Our name for the index of an underlying, which the venue calls as the underlying itself.

    >>> index_symbol("BTC_USDT")
    'BTC_USDT/INDEX'
    """
    return f"{underlying}/INDEX"


def _question(underlying: str) -> HttpRequest:
    path = f"/api/v4/options/contracts?underlying={quote(underlying)}"
    return HttpRequest(f"instruments {underlying}", path)


def _add(entry: bytes, found: Discovery, questions: dict[HttpRequest, None]) -> None:
    """Take one entry of either list.

    Raises:
        ValueError: it is neither an underlying nor a contract.
        SymbolError: a number that no contract can have.
    """
    named = _read_underlying(entry)
    if not bytes(named.expiration_time):
        if _UNDERLYING.fullmatch(named.name) is None:
            raise ValueError(f"name was {named.name[:64]!r}, expected an underlying")
        questions[_question(named.name)] = None
        return
    contract = _read_contract(entry)
    listing = _listing(contract)
    check_listing(listing)
    found.listings.append(listing)
    if _named_otherwise(listing, contract.underlying):
        found.conflicts.append(f"{NAME} {listing.symbol}: fields say {listing.contract}")


def _listing(contract: _Contract) -> Listing:
    """Turn the venue's fields into ours: prices in USDT a coin, sizes in contracts.

    Raises:
        SymbolError: a strike that is no plain number, or an underlying of another quote.
    """
    coin, _, quoted = contract.underlying.partition("_")
    if quoted != QUOTE:
        raise SymbolError(
            f"{NAME} {contract.name[:64]}: underlying was {contract.underlying[:64]!r}, expected "
            f"one in {QUOTE}"
        )
    return Listing(
        venue=NAME,
        symbol=contract.name,
        kind=ListingKind.OPTION,
        underlying=coin,
        multiplier=contract.multiplier,
        price_ccy=QUOTE,
        settle="linear",
        tick=contract.order_price_round,
        expiry_ns=contract.expiration_time * E9,
        strike_e9=exact_e9(bytes(contract.strike_price).strip(b'"').decode()),
        right="C" if contract.is_call else "P",
        style="european",
        lot=contract.order_size_min,
        settle_window_s=SETTLE_WINDOW_S,
    )


def _named_otherwise(option: Listing, underlying: str) -> bool:
    """Say whether an option's name contradicts its fields; of the expiry only the day can."""
    assert option.expiry_ns is not None
    day = datetime.fromtimestamp(option.expiry_ns // E9, UTC).date()
    try:
        name = parse(NAME, option.symbol)
    except SymbolError:
        return True
    return (name.root, name.day, name.strike_e9, name.right) != (
        underlying, day, option.strike_e9, option.right,
    )  # fmt: skip


def _index(coin: str) -> Listing:
    return Listing(
        venue=NAME,
        symbol=index_symbol(f"{coin}_{QUOTE}"),
        kind=ListingKind.INDEX,
        underlying=coin,
        multiplier=1.0,
        price_ccy=QUOTE,
        settle="linear",
        tick=INDEX_TICK,
    )
