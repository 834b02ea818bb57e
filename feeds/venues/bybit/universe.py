"""Stage 1 of 8: Bybit's instruments, read from the bodies of v5/market/instruments-info."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from feeds.contract import E9, INT64_MAX, Listing, ListingKind, check_listing
from feeds.errors import FrameError, SymbolError
from feeds.grammar import ParsedSymbol, parse
from feeds.spots import OTHER_QUOTE, SPOT_QUOTES
from feeds.venue import Discovery, HttpRequest

NAME: str = "bybit"
REST_URL: str = "https://api.bybit.com"

# Asked for where nobody names underlyings: a page must be of one coin, as its body does not say
# what was asked for, and the next page's question must.
COINS: Final = ("BTC", "ETH", "SOL", "XRP")
PAGE: Final = 1000  # the most that the venue gives at once
# The settlement price is the average of the index over the last half hour.
SETTLE_WINDOW_S: Final = 1800.0
INDEX_TICK: Final = 1e-8  # finest step seen in recorded index prices
NS_PER_MS: Final = 1_000_000
SPOT_SUFFIX: Final = "/SPOT"  # a spot has the name of a perpetual
KINDS: Final = {"LinearPerpetual": ListingKind.PERP, "LinearFutures": ListingKind.FUTURE}

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _PriceFilter(Struct, gc=False, rename="camel"):
    tick_size: Positive


class _LotSizeFilter(Struct, gc=False, rename="camel"):
    min_order_qty: Positive


class _Instrument(Struct, gc=False, rename="camel"):
    """The fields of one instrument that we use; an option has no contractType."""

    symbol: str
    status: str
    base_coin: str
    settle_coin: (
        str  # USDC options have USD as their quoteCoin, and are quoted in USDC all the same
    )
    delivery_time: Annotated[int, Meta(ge=0, le=2**53)]  # 0: never
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter
    options_type: Literal["Call", "Put"] | None = None
    contract_type: str | None = None


class _Spot(Struct, gc=False, rename="camel"):
    """The same of a pair, which neither settles nor ends."""

    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter


class _Coin(Struct, gc=False, rename="camel"):
    base_coin: str


class _Result(Struct, gc=False, rename="camel"):
    category: Literal["option", "linear", "spot"]
    list: list[msgspec.Raw]
    next_page_cursor: Annotated[str, Meta(max_length=1024)] = ""


class _Body(Struct, gc=False, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw()


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_result: Final = msgspec.json.Decoder(_Result).decode
_read_instrument: Final = msgspec.json.Decoder(_Instrument, strict=False).decode
_read_spot: Final = msgspec.json.Decoder(_Spot, strict=False).decode
_read_coin: Final = msgspec.json.Decoder(_Coin).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list options, perpetuals and futures of some coins; of COINS if none.

    The spots of all coins come last: the venue gives them at once, and not by coin.
    """
    asked = tuple(
        _question(category, coin)
        for coin in dict.fromkeys(underlyings or COINS)
        for category in ("option", "linear")
    )
    return (*asked, HttpRequest("instruments spot", "/v5/market/instruments-info?category=spot"))


def instruments(body: bytes) -> Discovery:
    """Read one page of instruments-info; index listings of its perpetuals come last.

    Entries that cannot be read are counted in `left_out` as `malformed`, those that do not trade
    under their status, inverse contracts under their type, spots in another currency than those of
    feeds/spots.py as `other_quote`. Names that contradict the fields are
    reported in `conflicts`, and the fields are trusted; the strike is in the name alone.

    Raises:
        FrameError: the body is not an answer with a list of instruments.
    """
    try:
        answer = _read_body(body)
        if answer.ret_code != 0:
            raise FrameError(
                f"{NAME} instruments-info: retCode was {answer.ret_code} {answer.ret_msg[:128]!r}, "
                "expected 0",
                body,
            )
        result = _read_result(answer.result)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} instruments-info: {error}", body) from error
    found = Discovery(following=_following(result, body))
    for entry in result.list:
        _add(bytes(entry), result.category, found)
    found.listings += [_index(perp) for perp in found.listings if perp.kind == ListingKind.PERP]
    return found


def index_symbol(perpetual: str) -> str:
    """Our name for the index behind a perpetual, which the venue does not name.

    >>> index_symbol("BTCUSDT")
    'BTCUSDT/INDEX'
    """
    return f"{perpetual}/INDEX"


def _question(category: str, coin: str, cursor: str = "") -> HttpRequest:
    path = f"/v5/market/instruments-info?category={category}&baseCoin={quote(coin)}&limit={PAGE}"
    if cursor:
        # The venue gives its cursors percent-encoded.
        path += f"&cursor={quote(cursor, safe='%')}"
    return HttpRequest(f"instruments {coin} {category}", path)


def _following(result: _Result, body: bytes) -> HttpRequest | None:
    """The question for the page after this one, None where it is the last.

    Raises:
        FrameError: there is a next page, and no telling of which coin.
    """
    if not result.next_page_cursor or not result.list or result.category == "spot":
        return None  # of spots there is one page, whatever a cursor says
    try:
        coin = _read_coin(result.list[0]).base_coin
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} instruments-info: next page's coin: {error}", body) from error
    return _question(result.category, coin, result.next_page_cursor)


def _add(entry: bytes, category: str, found: Discovery) -> None:
    try:
        instrument = (_read_spot if category == "spot" else _read_instrument)(entry)
        reason = _why_left_out(instrument)
        if reason is not None:
            found.leave_out(reason)
            return
        if isinstance(instrument, _Spot):
            listing, conflict = _spot(instrument), None
        else:
            listing, conflict = _listing(instrument)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    if conflict is not None:
        found.conflicts.append(conflict)


def _why_left_out(instrument: _Instrument | _Spot) -> str | None:
    if instrument.status != "Trading":
        return instrument.status[:32].lower()
    if isinstance(instrument, _Spot):
        return None if instrument.quote_coin in SPOT_QUOTES else OTHER_QUOTE
    kind = instrument.contract_type
    if instrument.options_type is None and kind is not None and kind not in KINDS:
        return kind[:32]
    return None


def _listing(instrument: _Instrument) -> tuple[Listing, str | None]:
    """Turn the venue's fields into ours, and say where an option's name contradicts them.

    Everything is linear, quoted in the coin it settles in, with sizes in the underlying coin.

    Raises:
        SymbolError: an option's name without a strike, neither an option nor a known contract type,
            or an expiry beyond int64.
    """
    option = instrument.options_type is not None
    if not option and instrument.contract_type is None:
        raise SymbolError(f"{NAME} {instrument.symbol}: optionsType, contractType were missing")
    kind = ListingKind.OPTION if option else KINDS[instrument.contract_type or ""]
    parsed = parse(NAME, instrument.symbol) if option else None
    expiry_ns = None if kind == ListingKind.PERP else instrument.delivery_time * NS_PER_MS
    if expiry_ns is not None and expiry_ns > INT64_MAX:
        raise SymbolError(
            f"{NAME} {instrument.symbol}: expiry_ns was {expiry_ns}, expected an int64"
        )
    listing = Listing(
        venue=NAME,
        symbol=instrument.symbol,
        kind=kind,
        underlying=instrument.base_coin,
        multiplier=1.0,
        price_ccy=instrument.settle_coin,
        settle="linear",
        tick=instrument.price_filter.tick_size,
        expiry_ns=expiry_ns,
        strike_e9=parsed.strike_e9 if parsed else None,
        right={"Call": "C", "Put": "P"}.get(instrument.options_type or ""),
        style="european" if option else None,
        lot=instrument.lot_size_filter.min_order_qty,
        settle_window_s=None if kind == ListingKind.PERP else SETTLE_WINDOW_S,
    )
    return listing, _conflict(listing, parsed) if parsed else None


def _spot(spot: _Spot) -> Listing:
    """Turn the fields of a pair into ours: sizes are in its base coin."""
    return Listing(
        venue=NAME,
        symbol=spot.symbol + SPOT_SUFFIX,
        kind=ListingKind.SPOT,
        underlying=spot.base_coin,
        multiplier=1.0,
        price_ccy=spot.quote_coin,
        settle="linear",
        tick=spot.price_filter.tick_size,
        lot=spot.lot_size_filter.min_order_qty,
    )


def _conflict(option: Listing, parsed: ParsedSymbol) -> str | None:
    """What the fields say where an option's name says something else."""
    assert option.expiry_ns is not None
    day = datetime.fromtimestamp(option.expiry_ns // E9, UTC).date()
    fields = (option.underlying, day, option.right, option.price_ccy)
    if (parsed.underlying, parsed.day, parsed.right, parsed.quote) == fields:
        return None
    return (
        f"{NAME} {option.symbol}: fields say {option.underlying} {day} {option.right} "
        f"{option.price_ccy}"
    )


def _index(perpetual: Listing) -> Listing:
    return Listing(
        venue=NAME,
        symbol=index_symbol(perpetual.symbol),
        kind=ListingKind.INDEX,
        underlying=perpetual.underlying,
        multiplier=1.0,
        price_ccy=perpetual.price_ccy,
        settle="linear",
        tick=INDEX_TICK,
    )
