"""Stages 1 and 2 of 8: identity of listings and contracts.

A listing is one instrument on one venue; a contract is underlying, expiry instant, strike and
right, whatever the venue.

Invariant: no identity passes through a float. Strikes are int64 in units of 1e-9, read from
decimal text digit by digit; instants are int64 nanoseconds since the Unix epoch, UTC.
"""

import calendar
import itertools
import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Final, Self
from zoneinfo import ZoneInfo

from feeds.errors import SymbolError

E9: Final = 10**9
INT64_MAX: Final = 2**63 - 1
NEW_YORK: Final = "America/New_York"

# Roots that settle to the opening print of their expiry day; their siblings with another root
# (SPXW, NDXP, RUTW) settle to the close. VIX options of either root settle to an opening print.
AM_SETTLED_ROOTS: Final = frozenset({"SPX", "NDX", "RUT", "DJX", "VIX", "VIXW"})

OCC_MULTIPLIER: Final = 100.0  # shares; the feed's definitions leave it undefined

# The length limit keeps hostile text from becoming a huge integer.
_DECIMAL: Final = re.compile(r"([0-9]{1,48})(?:[.dD_]([0-9]{1,48}))?(?:[eE]([+-]?[0-9]{1,2}))?")
_INSTANT: Final = re.compile(r"([0-9]{8})T([0-9]{4})(?:([0-9]{2})(?:\.([0-9]{9}))?)?Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def exact_e9(text: str) -> int:
    """Read a plain decimal number as a whole count of 1e-9.

    The decimal mark may be `.`, `d`, `D` (Deribit: `1d02`) or `_` (Derive: `2400_5`). An exponent
    and zeros beyond the ninth decimal are fine as long as the value is a whole count of 1e-9.

    >>> exact_e9("100000"), exact_e9("0.4"), exact_e9("1d02"), exact_e9("2.2e3")
    (100000000000000, 400000000, 1020000000, 2200000000000)

    Raises:
        SymbolError: empty, signed, malformed, finer than 1e-9, or beyond int64.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise SymbolError(f"decimal number was {text[:64]!r}, expected digits such as 0.4 or 1d02")
    whole, fraction, exponent = match[1], match[2] or "", int(match[3] or 0)
    digits, power = int(whole + fraction), 9 - len(fraction) + exponent
    scale: int = 10 ** abs(power)
    value, rest = (digits * scale, 0) if power >= 0 else divmod(digits, scale)
    if rest:
        raise SymbolError(f"decimal number was {text[:64]!r}, expected at most 9 decimals")
    if value > INT64_MAX:
        limit = format_e9(INT64_MAX)
        raise SymbolError(f"decimal number was {text[:64]!r}, expected at most {limit}")
    return value


def exact_e9_of_number(number: float) -> int:
    """Read a number that a JSON parser has already turned into an int or a float.

    A float stands for the shortest decimal that reads back to it, which is what the wire said as
    long as that had at most 15 digits; a float that is the result of arithmetic fails here.

    Raises:
        SymbolError: as `exact_e9`; also NaN, an infinity, a bool.
    """
    if isinstance(number, bool) or not 0 <= number <= INT64_MAX:
        shown = "beyond 2**64" if abs(number) > 2**64 else number
        raise SymbolError(f"number was {shown}, expected an int or a float from 0 to {INT64_MAX}")
    return exact_e9(repr(number))


def format_e9(value_e9: int) -> str:
    """Shortest plain decimal of a count of 1e-9, with a dot: `0.4`, `100000`.

    Raises:
        SymbolError: negative, or beyond int64.
    """
    if not 0 <= value_e9 <= INT64_MAX:
        raise SymbolError(f"count of 1e-9 was {value_e9}, expected 0 to {INT64_MAX}")
    whole, fraction = divmod(value_e9, E9)
    return f"{whole}.{fraction:09d}".rstrip("0") if fraction else str(whole)


@lru_cache(maxsize=4096)  # A universe has a few hundred expiries, and each name asks for one.
def expiry_ns(day: date, hour: int = 8, minute: int = 0, zone: str = "UTC") -> int:
    """Instant of a wall-clock time on a day, ns UTC; `zone` is an IANA name."""
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone))
    return calendar.timegm(local.utctimetuple()) * E9


def us_half_day(day: date) -> bool:
    """Say whether the US options markets close at 13:00 New York on a trading day.

    Three days by rule: the Friday after Thanksgiving, and 24 December and 3 July where they fall
    on Monday to Thursday (on a Friday they are the observed holiday itself). Closures ordered for
    a single occasion are not known here.
    """
    if (day.month, day.day) in ((12, 24), (7, 3)):
        return day.weekday() <= 3
    return day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29


def occ_expiry_ns(root: str, day: date) -> int:
    """Expiry instant of an OCC symbol: 16:00 New York, 13:00 on half days, 09:30 if AM-settled.

    Symbols before February 2015 carry the Saturday after the last trading day; the instant keeps
    the symbol's day.
    """
    if root in AM_SETTLED_ROOTS:
        return expiry_ns(day, 9, 30, NEW_YORK)
    return expiry_ns(day, 13 if us_half_day(day) else 16, 0, NEW_YORK)


def occ_multiplier(root: str) -> float:
    """Shares per contract: 100, or NaN for an adjusted root (ends in a digit, unknown here)."""
    return math.nan if root[-1:].isdigit() else OCC_MULTIPLIER


class ListingKind(IntEnum):
    """What is listed."""

    OPTION = 0
    PERP = 1
    FUTURE = 2
    SPOT = 3
    INDEX = 4
    EQUITY = 5


@dataclass(frozen=True, slots=True, order=True)
class Contract:
    """Economic identity of an option."""

    underlying: str
    expiry_ns: int
    strike_e9: int
    right: str  # "C" or "P"

    def __str__(self) -> str:
        """The one canonical text: `BTC-20260327T0800Z-100000-C`."""
        strike = format_e9(self.strike_e9)
        return f"{self.underlying}-{_instant_text(self.expiry_ns)}-{strike}-{self.right}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a canonical text; only what `str` would print is accepted.

        Raises:
            SymbolError: any other text.
        """
        parts = text.rsplit("-", 3)
        if len(parts) != 4 or not parts[0] or parts[3] not in ("C", "P"):
            raise SymbolError(
                f"contract was {text[:64]!r}, expected the form BTC-20260327T0800Z-100000-C"
            )
        underlying, instant, strike, right = parts
        contract = cls(underlying, _instant_ns(instant), exact_e9(strike), right)
        if str(contract) != text:
            raise SymbolError(f"contract was {text[:64]!r}, expected its canonical text {contract}")
        return contract


def _instant_text(instant_ns: int) -> str:
    """`20260327T0800Z`; seconds and nanoseconds are added only where they are not zero."""
    seconds, nanos = divmod(instant_ns, E9)
    moment = _EPOCH + timedelta(seconds=seconds)
    text = f"{moment.year:04d}{moment:%m%dT%H%M}"
    if moment.second or nanos:
        text += f"{moment:%S}"
    return f"{text}.{nanos:09d}Z" if nanos else f"{text}Z"


def _instant_ns(text: str) -> int:
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise SymbolError(f"expiry instant was {text[:64]!r}, expected the form 20260327T0800Z")
    try:
        moment = datetime.strptime(match[1] + match[2] + (match[3] or "00"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - UTC by the Z
    except ValueError as error:
        raise SymbolError(f"expiry instant was {text!r}, expected a calendar date") from error
    instant_ns = calendar.timegm(moment.timetuple()) * E9 + int(match[4] or 0)
    if abs(instant_ns) > INT64_MAX:
        raise SymbolError(f"expiry instant was {text!r}, expected one from 1678 to 2262")
    return instant_ns


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument on one venue, with all that turns its native units into ours."""

    venue: str
    symbol: str
    kind: ListingKind
    underlying: str
    multiplier: float  # underlying units per one unit of native size; NaN = unknown
    price_ccy: str
    settle: str  # "linear" or "inverse"
    tick: float  # the smallest tick of the table
    expiry_ns: int | None = None
    strike_e9: int | None = None
    right: str | None = None
    style: str | None = None
    price_per: float = 1.0  # the quoted price covers this many underlying units
    lot: float | None = None
    tick_table: tuple[tuple[float, float], ...] = ()  # (above_price, tick), ascending
    settle_window_s: float | None = None

    @property
    def contract(self) -> Contract | None:
        """Identity across venues; None for anything but an option.

        Raises:
            SymbolError: an option without expiry, strike or right.
        """
        if self.kind != ListingKind.OPTION:
            return None
        if self.expiry_ns is None or self.strike_e9 is None or self.right is None:
            raise SymbolError(
                f"{self.venue} {self.symbol}: expiry_ns, strike_e9, right were {self.expiry_ns}, "
                f"{self.strike_e9}, {self.right}, expected all three of an option"
            )
        return Contract(self.underlying, self.expiry_ns, self.strike_e9, self.right)


@dataclass(frozen=True, slots=True)
class ListingFault:
    """One field of a listing that breaks a rule."""

    field: str
    value: object
    expectation: str


def tick_at(listing: Listing, price: float) -> float:
    """Tick that applies at a price, native units; NaN for a NaN price.

    A band of `tick_table` begins at its `above_price` itself, as Deribit's `tick_size_steps` does.
    """
    if math.isnan(price):
        return math.nan
    band = bisect_right([above for above, _ in listing.tick_table], price)
    return listing.tick_table[band - 1][1] if band else listing.tick


def check_listing(listing: Listing) -> None:
    """Refuse a listing that cannot be one.

    Raises:
        SymbolError: names venue, symbol, field, value and expectation.
    """
    fault = listing_fault(listing)
    if fault is not None:
        raise SymbolError(
            f"{listing.venue} {listing.symbol}: {fault.field} was {fault.value!r}, "
            f"expected {fault.expectation}"
        )


def listing_fault(listing: Listing) -> ListingFault | None:
    """First field that breaks a rule, or None."""
    return _text_fault(listing) or _number_fault(listing) or identity_fault(listing)


def _text_fault(listing: Listing) -> ListingFault | None:
    for field in ("venue", "symbol", "underlying", "price_ccy"):
        if not getattr(listing, field):
            return ListingFault(field, getattr(listing, field), "a text that is not empty")
    if listing.settle not in ("linear", "inverse"):
        return ListingFault("settle", listing.settle, "linear or inverse")
    if listing.style not in (None, "european", "american"):
        return ListingFault("style", listing.style, "european, american or none")
    return None


def _number_fault(listing: Listing) -> ListingFault | None:
    if not (math.isnan(listing.multiplier) or _positive(listing.multiplier)):
        return ListingFault("multiplier", listing.multiplier, "a finite number > 0, NaN if unknown")
    for field in ("price_per", "tick", "lot", "settle_window_s"):
        value = getattr(listing, field)
        if value is None and field in ("lot", "settle_window_s"):
            continue
        if not _positive(value):
            return ListingFault(field, value, "a finite number > 0")
    starts = [above for above, _ in listing.tick_table]
    ascending = all(low < high for low, high in itertools.pairwise(starts))
    if not (ascending and all(above >= 0 and _positive(t) for above, t in listing.tick_table)):
        return ListingFault(
            "tick_table", listing.tick_table, "ascending (above_price >= 0, tick > 0) pairs"
        )
    return None


def identity_fault(listing: Listing) -> ListingFault | None:
    """First of the fields that depend on the kind that breaks a rule, or None."""
    if listing.kind == ListingKind.OPTION:
        return _option_fault(listing)
    for field in ("strike_e9", "right", "style"):
        if getattr(listing, field) is not None:
            return ListingFault(field, getattr(listing, field), "none, as this is not an option")
    if (listing.expiry_ns is not None) != (listing.kind == ListingKind.FUTURE):
        wanted = "the expiry of a future" if listing.expiry_ns is None else "none but for a future"
        return ListingFault("expiry_ns", listing.expiry_ns, wanted)
    return None


def _option_fault(listing: Listing) -> ListingFault | None:
    if listing.right not in ("C", "P"):
        return ListingFault("right", listing.right, "C or P of an option")
    if listing.strike_e9 is None or not 0 < listing.strike_e9 <= INT64_MAX:
        return ListingFault("strike_e9", listing.strike_e9, "the strike of an option, > 0")
    if listing.expiry_ns is None or not 0 < listing.expiry_ns <= INT64_MAX:
        return ListingFault("expiry_ns", listing.expiry_ns, "the expiry of an option, > 0")
    return None


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
