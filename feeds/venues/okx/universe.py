"""Stage 1 of 8: OKX's instruments, read from the bodies of public/instruments."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import quote as in_url

import msgspec
from msgspec import Meta, Struct

from feeds.columns import NS_PER_MS
from feeds.contract import E9, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.grammar import default_contract, parse
from feeds.spots import OTHER_QUOTE, SPOT_QUOTES
from feeds.venue import Discovery, HttpRequest
from feeds.venues.okx import wire

NAME: str = "okx"
REST_URL: str = "https://www.okx.com/api/v5"

# Coins that have options, as of the help centre's page on them. Asking for the family of another
# is an error to the venue, and a failed discovery to us.
OPTION_COINS: Final = ("BTC", "ETH")
OPTION_QUOTE: Final = "USD"
FUTURE_QUOTES: Final = ("USD", "USDT")  # the liquid ones; both families exist for every such coin

KINDS: Final = {
    "OPTION": ListingKind.OPTION,
    "SWAP": ListingKind.PERP,
    "FUTURES": ListingKind.FUTURE,
    "SPOT": ListingKind.SPOT,
}
# The spots of all coins: the venue has no question for those of one.
SPOTS: Final = HttpRequest("SPOT", "/public/instruments?instType=SPOT")
ORDINARY_RULES: Final = ("", "normal")  # premarket and perpetual-style futures have others

# Deliveries and exercises settle to the average of the index over the last half hour since
# 2026-03-18, over the last hour before (the venue's announcement of 2026-03-06).
SETTLE_WINDOW_S: Final = 1800.0
# Finest step seen in recorded index prices (3814.05).
INDEX_TICK: Final = 0.01

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _Instrument(Struct, gc=False, rename="camel"):
    """The fields of one instrument that become a listing; all come as text."""

    inst_type: str
    inst_id: str
    uly: str
    settle_ccy: str
    ct_val: str
    ct_mult: str
    ct_val_ccy: str
    tick_sz: Positive
    lot_sz: Positive
    exp_time: wire.Ms | Literal[""] = ""
    ct_type: Literal["", "linear", "inverse"] = ""
    opt_type: str = ""
    stk: str = ""


class _Spot(Struct, gc=False, rename="camel"):
    """The same of a spot, of which most of those fields are blank."""

    inst_id: str
    base_ccy: str
    quote_ccy: str
    tick_sz: Positive
    lot_sz: Positive


class _Body(Struct, gc=False):
    code: str
    data: list[msgspec.Raw]
    msg: str = ""


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_names: Final = msgspec.json.Decoder(list[str]).decode
_read_instrument: Final = msgspec.json.Decoder(_Instrument, strict=False).decode
_read_spot: Final = msgspec.json.Decoder(_Spot, strict=False).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list options, perpetuals and futures of some underlyings, and all spots.

    Coins without options here are not asked for. Where no underlying is named, the only question
    is which there are; `instruments` raises the others from its answer.
    """
    if not underlyings:
        return (HttpRequest("underlyings OPTION", "/public/underlying?instType=OPTION"),)
    coins = [name for name in dict.fromkeys(underlyings) if name in OPTION_COINS]
    return _all_questions(f"{coin}-{OPTION_QUOTE}" for coin in coins)


def _all_questions(families: Iterable[str]) -> tuple[HttpRequest, ...]:
    """Those of option families, and what is asked once for all of them, last."""
    asked = [question for family in families for question in _questions(family)]
    return (*asked, SPOTS) if asked else ()


def _questions(underlying: str) -> Iterable[HttpRequest]:
    coin = underlying.partition("-")[0]
    yield _question("OPTION", underlying)
    for kind in ("SWAP", "FUTURES"):
        for currency in FUTURE_QUOTES:
            yield _question(kind, f"{coin}-{currency}")


def _question(kind: str, family: str) -> HttpRequest:
    path = f"/public/instruments?instType={kind}&instFamily={in_url(family)}"
    return HttpRequest(f"{family} {kind}", path)


def instruments(body: bytes) -> Discovery:
    """Read the body of public/instruments, or the list of underlyings that leads to such.

    Index listings of the underlyings come last. What `why_left_out` names is counted in `left_out`,
    entries that cannot be read as `malformed`, announced ones that are still blank as `preopen`.
    Names that contradict the fields are reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list, or the venue refused the question.
    """
    try:
        answer = _read_body(body)
        if answer.code == "0" and answer.data and bytes(answer.data[0])[:1] == b"[":
            return _families(answer.data)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} instruments: {error}", body) from error
    if answer.code != "0":
        raise FrameError(
            f"{NAME} instruments: code was {answer.code[:16]} ({answer.msg[:128]}), expected 0",
            body,
        )
    found = Discovery()
    for entry in answer.data:
        _add(bytes(entry), found)
    found.listings += _index_listings(found.listings)
    return found


def _families(lists: Iterable[msgspec.Raw]) -> Discovery:
    names = [name for part in lists for name in _read_names(part)]
    return Discovery(further=_all_questions(dict.fromkeys(names)))


def why_left_out(instrument: wire.InstrumentState) -> str | None:
    """Reason why an instrument is none of ours, or None."""
    kind, family = instrument.inst_type, instrument.inst_family
    coin = instrument.uly.partition("-")[0]
    reasons = (
        (kind not in KINDS, kind[:32] or "no_type"),
        (instrument.state == "test", "test"),
        (instrument.rule_type not in ORDINARY_RULES, instrument.rule_type[:32]),
        (kind == "SPOT" and instrument.quote_ccy not in SPOT_QUOTES, OTHER_QUOTE),
        # BTC-USD_UM: margined in dollars.
        (bool(instrument.uly) and family not in ("", instrument.uly), "other_family"),
        # No frame of one was ever seen.
        (kind == "OPTION" and instrument.settle_ccy != coin, "linear_option"),
    )
    return next((reason for holds, reason in reasons if holds), None)


def index_name(listing: Listing) -> str:
    """Index behind a listing, in the venue's spelling: BTC-USD, BTC-USDT."""
    if listing.kind == ListingKind.INDEX:
        return listing.symbol.removesuffix(wire.INDEX_SUFFIX)
    quote = "USD" if listing.settle == "inverse" else listing.price_ccy
    return f"{listing.underlying}-{quote}"


def _index_listings(listings: Iterable[Listing]) -> list[Listing]:
    """One INDEX listing per index behind the instruments, in name order; a spot has none."""
    owners = {
        index_name(listing): listing.underlying
        for listing in listings
        if listing.kind != ListingKind.SPOT
    }
    return [
        Listing(
            venue=NAME,
            symbol=index + wire.INDEX_SUFFIX,
            kind=ListingKind.INDEX,
            underlying=underlying,
            multiplier=1.0,
            price_ccy=index.partition("-")[2],
            settle="linear",
            tick=INDEX_TICK,
        )
        for index, underlying in sorted(owners.items())
    ]


def _add(entry: bytes, found: Discovery) -> None:
    try:
        listing = _read(entry)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    if isinstance(listing, str):
        found.leave_out(listing)
        return
    found.listings.append(listing)
    if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
        found.conflicts.append(f"{NAME} {listing.symbol}: fields say {listing.contract}")


def _read(entry: bytes) -> Listing | str:
    """A listing, or the reason why there is none.

    Raises:
        ValueError, RecursionError, SymbolError: the entry cannot be read.
    """
    head = wire.read_instrument_state(entry)
    reason = why_left_out(head)
    if reason is not None:
        return reason
    try:
        if head.inst_type == "SPOT":
            return _spot_listing(_read_spot(entry))
        return _listing(_read_instrument(entry))
    except (ValueError, RecursionError, SymbolError):
        if head.state != "preopen":
            raise
        return "preopen"  # Most fields of an instrument that is only announced are blank.


def _listing(instrument: _Instrument) -> Listing:
    """Turn the venue's fields into ours.

    Sizes are in contracts of `ctVal` x `ctMult`: coins, and US dollars for inverse perpetuals and
    futures, whose coins are size x multiplier / price.

    Raises:
        SymbolError: fields that are no listing, or that contradict each other.
    """
    kind = KINDS[instrument.inst_type]
    option = kind == ListingKind.OPTION
    coin, _, quote = instrument.uly.partition("-")
    settle = "inverse" if option else instrument.ct_type
    valued_in = coin if option or settle == "linear" else quote
    if instrument.ct_val_ccy != valued_in:
        raise SymbolError(
            f"{NAME} {instrument.inst_id}: ctValCcy was {instrument.ct_val_ccy[:16]!r}, "
            f"expected {valued_in}"
        )
    expiry_ns = None if instrument.exp_time == "" else instrument.exp_time * NS_PER_MS
    listing = Listing(
        venue=NAME,
        symbol=instrument.inst_id,
        kind=kind,
        underlying=coin,
        multiplier=exact_e9(instrument.ct_val) * exact_e9(instrument.ct_mult) / E9**2,
        price_ccy=coin if option else quote,
        settle=settle,
        tick=instrument.tick_sz,
        # A perpetual's, where there is one, is when it will be delisted.
        expiry_ns=expiry_ns if kind != ListingKind.PERP else None,
        strike_e9=exact_e9(instrument.stk) if option else None,
        right=instrument.opt_type if option else None,
        style="european" if option else None,
        lot=instrument.lot_sz,
        settle_window_s=None if kind == ListingKind.PERP else SETTLE_WINDOW_S,
    )
    check_listing(listing)
    return listing


def _spot_listing(spot: _Spot) -> Listing:
    """Turn a spot's fields into ours: sizes are in its base currency.

    Raises:
        SymbolError: fields that are no listing.
    """
    listing = Listing(
        venue=NAME,
        symbol=spot.inst_id,
        kind=ListingKind.SPOT,
        underlying=spot.base_ccy,
        multiplier=1.0,
        price_ccy=spot.quote_ccy,
        settle="linear",
        tick=spot.tick_sz,
        lot=spot.lot_sz,
    )
    check_listing(listing)
    return listing


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields (BTC-USD-260925-100000-C)."""
    try:
        return default_contract(parse(NAME, listing.symbol)) != listing.contract
    except SymbolError:
        return True
