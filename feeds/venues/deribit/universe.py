"""Stage 1 of 8: Deribit's instruments, read from the bodies of public/get_instruments."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from feeds.contract import INT64_MAX, Listing, ListingKind, check_listing, exact_e9
from feeds.errors import FrameError, SymbolError
from feeds.spots import OTHER_QUOTE, SPOT_QUOTES
from feeds.venue import Discovery, HttpRequest

NAME: str = "deribit"
REST_URL: str = "https://www.deribit.com/api/v2"

# Currencies whose instruments settle in the coin itself. Linear instruments of every coin are
# listed under the stablecoin they settle in.
COIN_CURRENCIES: Final = frozenset({"BTC", "ETH"})
LINEAR_CURRENCIES: Final = ("USDC", "USDT")

# The settlement price is the average of the index over the last half hour.
SETTLE_WINDOW_S: Final = 1800.0
# Finest step seen in recorded index prices (matic: 1.1367).
INDEX_TICK: Final = 0.0001
NS_PER_MS: Final = 1_000_000
SETTLES: Final = {"reversed": "inverse", "linear": "linear"}

Positive = Annotated[float, Meta(gt=0, le=1e12)]


class _TickStep(Struct, gc=False):
    above_price: Annotated[float, Meta(ge=0, le=1e12)]
    tick_size: Positive


class _Instrument(Struct, gc=False):
    """The fields of one instrument that we use. Captures of 2021 lack instrument_type."""

    instrument_name: str
    kind: str
    base_currency: str = ""
    quote_currency: str = ""
    tick_size: Positive | None = None
    tick_size_steps: list[_TickStep] = []
    min_trade_amount: Positive | None = None
    instrument_type: str | None = None  # of a spot it means nothing
    future_type: Literal["reversed", "linear"] | None = None
    settlement_period: str | None = None
    # A perpetual's is in the year 3000, which int64 nanoseconds cannot hold.
    expiration_timestamp: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    option_type: Literal["call", "put"] | None = None
    strike: msgspec.Raw = msgspec.Raw()  # text, because identity never passes through a float


class _Body(Struct, gc=False):
    result: list[msgspec.Raw]


_read_body: Final = msgspec.json.Decoder(_Body).decode
_read_instrument: Final = msgspec.json.Decoder(_Instrument).decode


def discovery(underlyings: Sequence[str]) -> tuple[HttpRequest, ...]:
    """GETs whose bodies list the options and futures of some underlyings; of all if none is named.

    The linear currencies hold every coin, so their bodies name more underlyings than asked. The
    spots of all coins come last, in one body: which of its two currencies files a pair is not
    documented.
    """
    coins = [name for name in dict.fromkeys(underlyings) if name in COIN_CURRENCIES]
    currencies = [*coins, *LINEAR_CURRENCIES] if underlyings else ["any"]
    asked = [(currency, kind) for currency in currencies for kind in ("option", "future")]
    return tuple(
        HttpRequest(
            f"instruments {currency} {kind}",
            f"/public/get_instruments?currency={currency}&kind={kind}&expired=false",
        )
        for currency, kind in (*asked, ("any", "spot"))
    )


def instruments(body: bytes) -> Discovery:
    """Read the body of get_instruments; index listings of its underlyings come last.

    Options, perpetuals, futures and spots become listings. Other kinds are counted in `left_out`
    under their own name, spots in another currency than those of feeds/spots.py as `other_quote`,
    entries that cannot be read as `malformed`. Names that contradict the fields
    are reported in `conflicts`, and the fields are trusted.

    Raises:
        FrameError: the body is not an answer with a list of instruments.
    """
    try:
        entries = _read_body(body).result
    except (ValueError, RecursionError) as error:
        raise FrameError(f"{NAME} get_instruments: {error}", body) from error
    found = Discovery()
    for entry in entries:
        _add(bytes(entry), found)
    found.listings += index_listings(found.listings)
    return found


def index_listings(listings: Iterable[Listing]) -> list[Listing]:
    """One INDEX listing per price index behind the options and futures, in name order.

    Its symbol is the index's own name, such as btc_usd. Nothing settles to the index behind a
    spot.
    """
    owners: dict[str, Listing] = {}
    for listing in listings:
        if listing.kind not in (ListingKind.INDEX, ListingKind.SPOT):
            owners.setdefault(index_name(listing), listing)
    return [
        Listing(
            venue=NAME,
            symbol=symbol,
            kind=ListingKind.INDEX,
            underlying=owner.underlying,
            multiplier=1.0,
            price_ccy=symbol.rpartition("_")[2].upper(),
            settle="linear",
            tick=INDEX_TICK,
        )
        for symbol, owner in sorted(owners.items())
    ]


def index_name(listing: Listing) -> str:
    """Price index an instrument settles to: btc_usd, matic_usdc; an index is its own."""
    if listing.kind == ListingKind.INDEX:
        return listing.symbol
    quote = "usd" if listing.settle == "inverse" else listing.price_ccy.lower()
    return f"{listing.underlying.lower()}_{quote}"


def _add(entry: bytes, found: Discovery) -> None:
    try:
        instrument = _read_instrument(entry)
        reason = _why_left_out(instrument)
        if reason is not None:
            found.leave_out(reason)
            return
        listing = _listing(instrument)
        check_listing(listing)
    except (ValueError, RecursionError, SymbolError):
        found.fail(entry)
        return
    found.listings.append(listing)
    if listing.kind == ListingKind.OPTION and _named_otherwise(listing):
        found.conflicts.append(
            f"{NAME} {listing.symbol}: fields say strike_e9 {listing.strike_e9} {listing.right}"
        )


def _why_left_out(instrument: _Instrument) -> str | None:
    if instrument.kind not in ("option", "future", "spot"):
        return instrument.kind[:32]
    if instrument.kind == "spot" and instrument.quote_currency not in SPOT_QUOTES:
        return OTHER_QUOTE
    return None


def _listing(instrument: _Instrument) -> Listing:
    """Turn the venue's fields into ours.

    Sizes are in coin for options, spots and everything linear, and in USD for inverse futures and
    perpetuals, whose multiplier is 1 (USD): their coins are size / price.
    """
    kind = _kind(instrument)
    option = kind == ListingKind.OPTION
    expires = kind in (ListingKind.OPTION, ListingKind.FUTURE)
    ticks = [(step.above_price, step.tick_size) for step in instrument.tick_size_steps]
    tick = min([instrument.tick_size or 0.0, *(size for _, size in ticks)])
    if ticks and tick != instrument.tick_size and ticks[0][0] > 0:
        ticks.insert(0, (0.0, instrument.tick_size or 0.0))
    return Listing(
        venue=NAME,
        symbol=instrument.instrument_name,
        kind=kind,
        underlying=instrument.base_currency,
        multiplier=1.0,
        price_ccy=instrument.quote_currency,
        settle=_settle(instrument),
        tick=tick,
        expiry_ns=_expiry_ns(instrument) if expires else None,
        strike_e9=exact_e9(bytes(instrument.strike).decode()) if option else None,
        right={"call": "C", "put": "P"}.get(instrument.option_type or "") if option else None,
        style="european" if option else None,
        lot=instrument.min_trade_amount,
        tick_table=tuple(ticks),
        settle_window_s=SETTLE_WINDOW_S if expires else None,
    )


def _expiry_ns(instrument: _Instrument) -> int | None:
    """Instant of expiry.

    Raises:
        SymbolError: beyond int64.
    """
    if instrument.expiration_timestamp is None:
        return None
    expiry_ns = instrument.expiration_timestamp * NS_PER_MS
    if expiry_ns > INT64_MAX:
        raise SymbolError(
            f"{NAME} {instrument.instrument_name}: expiry_ns was {expiry_ns}, expected an int64"
        )
    return expiry_ns


def _kind(instrument: _Instrument) -> ListingKind:
    if instrument.kind == "option":
        return ListingKind.OPTION
    if instrument.kind == "spot":
        return ListingKind.SPOT
    perpetual = instrument.settlement_period == "perpetual"
    return ListingKind.PERP if perpetual else ListingKind.FUTURE


def _settle(instrument: _Instrument) -> str:
    """Whether prices are paid in the coin, or linear.

    Raises:
        SymbolError: the venue has another word for it.
    """
    if instrument.kind == "spot":
        return "linear"
    stated = instrument.instrument_type or instrument.future_type
    if stated is not None:
        if stated not in SETTLES:
            raise SymbolError(
                f"{NAME} {instrument.instrument_name}: instrument_type was {stated[:32]!r}, "
                f"expected one of {list(SETTLES)}"
            )
        return SETTLES[stated]
    # Before 2022 no field says it: an inverse option is priced in its coin, an inverse future in
    # USD, which nothing linear is.
    coin = instrument.quote_currency in (instrument.base_currency, "USD")
    return "inverse" if coin else "linear"


def _named_otherwise(listing: Listing) -> bool:
    """Say whether an option's name contradicts its fields (MATIC_USDC-9MAR24-1d02-C)."""
    _, _, tail = listing.symbol.partition("-")
    _, _, tail = tail.partition("-")
    strike, _, right = tail.partition("-")
    try:
        return right != listing.right or exact_e9(strike) != listing.strike_e9
    except SymbolError:
        return True
