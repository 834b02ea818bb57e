"""Stages 1 and 2 of 8: how each venue spells the name of an option, read and printed back.

`parse` and `print_symbol` are exact inverses: what parses prints to the same text, and everything
else is a SymbolError. Names that are no single option (perpetuals, futures, combos, straddles) are
outside every grammar on purpose. Where a venue sends strike and expiry as fields, the fields win;
the names are the check, and on Bybit the strike stands nowhere else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from feeds.contract import E9, Contract, exact_e9, expiry_ns, format_e9, occ_expiry_ns
from feeds.errors import SymbolError

MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
FIRST_YEAR: Final = 2000  # Two digits of a year mean this century.
LAST_YEAR: Final = 2199  # Beyond it an instant in ns would leave int64.

# OCC roots that differ from their underlying only in when they settle. An adjusted root (AAPL1)
# delivers something else than its underlying, so it stays an underlying of its own.
OCC_UNDERLYING: Final = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT", "VIXW": "VIX"}
OCC_STRIKE_STEP_E9: Final = 10**6  # OCC counts strikes in thousandths of a dollar.
OCC_STRIKE_END_E9: Final = 100_000 * E9


@dataclass(frozen=True, slots=True)
class ParsedSymbol:
    """An option's name taken apart, with all that printing it back needs."""

    venue: str
    root: str  # as in the name: BTC, MATIC_USDC, BTC-USD, BTC_USDT, BTCUSD, SPXW
    underlying: str
    quote: str | None  # currency the name states or its form implies; None where it does neither
    day: date  # expiry date as the name gives it
    strike_e9: int
    right: str  # "C" or "P"
    suffix: str = ""  # Bybit: "-USDT", "-USDC" or none
    mark: str = "."  # decimal mark of the strike, also where the strike has no decimals
    decimals: int = 0  # digits after the mark
    day_padded: bool = True  # 08JUN20 rather than 8JUN20; true for a day of two digits


@dataclass(frozen=True, slots=True)
class Grammar:
    """One venue's spelling.

    example: a name of the venue, for messages.
    pattern: named groups root, date, strike, right and perhaps suffix.
    template: the same parts, for printing.
    dates: order of the date: D-MON-YY, YYMMDD, YYYYMMDD or DDMMYY.
    marks: decimal marks a strike may have, the venue's usual one first.
    root_separator: what stands between underlying and quote currency inside the root.
    quote: the quote currency where the root names none; None where nothing implies one.
    hour: default hour of expiry, UTC; OCC symbols follow `occ_expiry_ns`. Read on the wire for
        Deribit, Binance, OKX, Bybit, Derive and Delta; nobody has confirmed the others.
    """

    example: str
    pattern: re.Pattern[str]
    template: str
    dates: str
    marks: str = "."
    root_separator: str = ""
    quote: str | None = None
    hour: int = 8


# Leading zeros are outside every grammar: a strike then has one spelling per number of decimals.
_WHOLE: Final = r"(?:0|[1-9][0-9]{0,14})"
_STRIKE: Final = rf"(?P<strike>{_WHOLE}(?:[.][0-9]{{1,9}})?)"
_RIGHT: Final = r"(?P<right>[CP])"
_WORD_DATE: Final = r"(?P<date>[0-9]{1,2}[A-Z]{3}[0-9]{2})"
_COIN: Final = r"(?P<root>[A-Z0-9]{1,16})"
_SHORT_DATE: Final = r"(?P<date>[0-9]{6})"
_LONG_DATE: Final = r"(?P<date>[0-9]{8})"
_PLAIN: Final = "{root}-{date}-{strike}-{right}"

# Both platforms of the venue. Its MV-... straddles are two options, so no names of this grammar.
_DELTA: Final = Grammar(
    "C-BTC-90000-310126",
    re.compile(rf"{_RIGHT}-{_COIN}-{_STRIKE}-{_SHORT_DATE}"),
    "{right}-{root}-{strike}-{date}",
    "DDMMYY",
    hour=12,
)

GRAMMARS: Final[Mapping[str, Grammar]] = {
    "deribit": Grammar(
        "MATIC_USDC-9MAR24-1d02-C",
        re.compile(
            r"(?P<root>[A-Z0-9]{1,16}(?:_[A-Z0-9]{1,16})?)-"
            rf"{_WORD_DATE}-(?P<strike>{_WHOLE}(?:[dD][0-9]{{1,9}})?)-{_RIGHT}"
        ),
        _PLAIN,
        "D-MON-YY",
        marks="dD",
        root_separator="_",
    ),
    "okx": Grammar(
        "BTC-USD-260925-100000-C",
        re.compile(
            rf"(?P<root>[A-Z0-9]{{1,16}}-[A-Z0-9_]{{1,16}})-{_SHORT_DATE}-{_STRIKE}-{_RIGHT}"
        ),
        _PLAIN,
        "YYMMDD",
        root_separator="-",
    ),
    # A name without suffix is of the older, USDC-quoted contracts.
    "bybit": Grammar(
        "XRP-30OCT26-0.4-P-USDT",
        re.compile(rf"{_COIN}-{_WORD_DATE}-{_STRIKE}-{_RIGHT}(?P<suffix>-USDT|-USDC)?"),
        _PLAIN + "{suffix}",
        "D-MON-YY",
        quote="USDC",
    ),
    "binance": Grammar(
        "BTC-260925-86000-C",
        re.compile(rf"{_COIN}-{_SHORT_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "YYMMDD",
        quote="USDT",
    ),
    "derive": Grammar(
        "ETH-20260627-2400_5-C",
        re.compile(rf"{_COIN}-{_LONG_DATE}-(?P<strike>{_WHOLE}(?:_[0-9]{{1,9}})?)-{_RIGHT}"),
        _PLAIN,
        "YYYYMMDD",
        marks="_",
        quote="USDC",
    ),
    "delta": _DELTA,
    "delta_india": _DELTA,
    "gate": Grammar(
        "BTC_USDT-20211130-65000-C",
        re.compile(rf"(?P<root>[A-Z0-9]{{1,16}}_[A-Z]{{1,16}})-{_LONG_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "YYYYMMDD",
        root_separator="_",
    ),
    "aevo": Grammar(
        "ETH-31MAR23-1350-C",
        re.compile(rf"{_COIN}-{_WORD_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "D-MON-YY",
        quote="USDC",
    ),
    "thalex": Grammar(
        "BTC-27MAR26-100000-C",
        re.compile(rf"{_COIN}-{_WORD_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "D-MON-YY",
        quote="USD",
    ),
    "bullish": Grammar(
        "BTC-USDC-20260425-70000-C",
        re.compile(rf"(?P<root>[A-Z0-9]{{1,16}}-[A-Z]{{1,16}})-{_LONG_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "YYYYMMDD",
        root_separator="-",
    ),
    "coincall": Grammar(
        "BTCUSD-27DEC24-65000-C",
        re.compile(rf"(?P<root>[A-Z0-9]{{1,16}}USD)-{_WORD_DATE}-{_STRIKE}-{_RIGHT}"),
        _PLAIN,
        "D-MON-YY",
        quote="USD",
    ),
    # Root padded to 6 characters, strike in thousandths on 8 digits; 21 characters in all.
    "occ": Grammar(
        "SPY   240119P00340000",
        re.compile(
            rf"(?=.{{21}}\Z)(?P<root>[A-Z0-9]{{1,6}} *){_SHORT_DATE}{_RIGHT}(?P<strike>[0-9]{{8}})"
        ),
        "{root:<6}{date}{right}{strike}",
        "YYMMDD",
        quote="USD",
    ),
}


def parse(venue: str, symbol: str) -> ParsedSymbol:
    """Take an option's name apart.

    Raises:
        SymbolError: an unknown venue, or a text that is not the name of one option there.
    """
    grammar = grammar_of(venue)
    match = grammar.pattern.fullmatch(symbol)
    if match is None:
        raise SymbolError(
            f"{venue}: symbol was {symbol[:64]!r}, expected an option such as {grammar.example}"
        )
    strike = match["strike"]
    try:
        strike_e9 = int(strike) * OCC_STRIKE_STEP_E9 if venue == "occ" else exact_e9(strike)
    except SymbolError as error:
        raise SymbolError(f"{venue} {symbol}: strike: {error}") from error
    if strike_e9 == 0:
        raise SymbolError(f"{venue} {symbol}: strike was {strike}, expected > 0")
    root = match["root"].rstrip(" ")
    suffix = match.groupdict().get("suffix") or ""
    underlying, quote = _currencies(venue, root, suffix)
    mark, decimals = _decimal_form(grammar, "" if venue == "occ" else strike)
    written = match["date"]
    return ParsedSymbol(
        venue,
        root,
        underlying,
        quote,
        _read_date(grammar.dates, written, f"{venue} {symbol}"),
        strike_e9,
        match["right"],
        suffix,
        mark,
        decimals,
        day_padded=len(written) != 6 or grammar.dates != "D-MON-YY",
    )


def print_symbol(parsed: ParsedSymbol) -> str:
    """Write the name that `parse` read, character by character.

    Raises:
        SymbolError: parts that the venue's grammar cannot spell.
    """
    grammar = grammar_of(parsed.venue)
    text = grammar.template.format(
        root=parsed.root,
        date=_print_date(grammar.dates, parsed.day, padded=parsed.day_padded),
        strike=_print_strike(parsed),
        right=parsed.right,
        suffix=parsed.suffix,
    )
    # Reading it back is the whole proof: a name that means something else never leaves here.
    if parse(parsed.venue, text) != parsed:
        raise SymbolError(f"{parsed.venue}: {parsed} spells {text[:64]!r}, which reads otherwise")
    return text


def symbol_of(
    venue: str, root: str, day: date, strike_e9: int, right: str, suffix: str = ""
) -> ParsedSymbol:
    """Compose a name in the venue's usual spelling: shortest strike, its usual mark and padding.

    Raises:
        SymbolError: an unknown venue, or a root the venue cannot have.
    """
    grammar = grammar_of(venue)
    underlying, quote = _currencies(venue, root, suffix)
    _, _, fraction = format_e9(strike_e9).partition(".")
    return ParsedSymbol(
        venue,
        root,
        underlying,
        quote,
        day,
        strike_e9,
        right,
        suffix,
        mark=grammar.marks[0],
        decimals=0 if venue == "occ" else len(fraction),
        day_padded=grammar.dates != "D-MON-YY" or day.day >= 10,
    )


def default_expiry_ns(parsed: ParsedSymbol) -> int:
    """Expiry instant at the venue's usual hour; a check of the venue's own field, no substitute."""
    if parsed.venue == "occ":
        return occ_expiry_ns(parsed.root, parsed.day)
    return expiry_ns(parsed.day, grammar_of(parsed.venue).hour)


def default_contract(parsed: ParsedSymbol) -> Contract:
    """Contract that the name alone suggests, with `default_expiry_ns`."""
    return Contract(parsed.underlying, default_expiry_ns(parsed), parsed.strike_e9, parsed.right)


def grammar_of(venue: str) -> Grammar:
    """Grammar of a venue.

    Raises:
        SymbolError: there is none of that name.
    """
    grammar = GRAMMARS.get(venue)
    if grammar is None:
        raise SymbolError(f"venue was {venue[:64]!r}, expected one of {', '.join(GRAMMARS)}")
    return grammar


def _currencies(venue: str, root: str, suffix: str) -> tuple[str, str | None]:
    """Underlying and quote currency that a root and a suffix name."""
    grammar = grammar_of(venue)
    if venue == "occ":
        return OCC_UNDERLYING.get(root, root), grammar.quote
    if venue == "coincall":
        return root.removesuffix("USD"), grammar.quote
    if suffix:
        return root, suffix.removeprefix("-")
    if grammar.root_separator:
        underlying, _, quote = root.partition(grammar.root_separator)
        return underlying, quote or grammar.quote
    return root, grammar.quote


def _decimal_form(grammar: Grammar, strike: str) -> tuple[str, int]:
    """Decimal mark and number of decimals of a strike as written."""
    for mark in grammar.marks:
        _, found, fraction = strike.partition(mark)
        if found:
            return mark, len(fraction)
    return grammar.marks[0], 0


def _print_strike(parsed: ParsedSymbol) -> str:
    if parsed.venue == "occ":
        steps, rest = divmod(parsed.strike_e9, OCC_STRIKE_STEP_E9)
        if rest or not 0 < parsed.strike_e9 < OCC_STRIKE_END_E9:
            raise SymbolError(
                f"occ {parsed.root}: strike was {parsed.strike_e9} e-9, "
                "expected thousandths of a dollar from 0.001 to 99999.999"
            )
        return f"{steps:08d}"
    whole, fraction = divmod(parsed.strike_e9, E9)
    shown = f"{fraction:09d}"[: parsed.decimals]
    return f"{whole}{parsed.mark}{shown}" if parsed.decimals else str(whole)


def _print_date(dates: str, day: date, *, padded: bool) -> str:
    year = day.year % 100
    if dates == "D-MON-YY":
        number = f"{day.day:02d}" if padded else str(day.day)
        return f"{number}{MONTHS[day.month - 1]}{year:02d}"
    if dates == "DDMMYY":
        return f"{day.day:02d}{day.month:02d}{year:02d}"
    if dates == "YYMMDD":
        return f"{year:02d}{day.month:02d}{day.day:02d}"
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def _read_date(dates: str, written: str, where: str) -> date:
    try:
        if dates == "D-MON-YY":
            month = MONTHS.index(written[-5:-2]) + 1
            day = date(FIRST_YEAR + int(written[-2:]), month, int(written[:-5]))
        elif dates == "DDMMYY":
            day = date(FIRST_YEAR + int(written[4:]), int(written[2:4]), int(written[:2]))
        elif dates == "YYMMDD":
            day = date(FIRST_YEAR + int(written[:2]), int(written[2:4]), int(written[4:]))
        else:
            day = date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError as error:
        raise SymbolError(f"{where}: date was {written}, expected {dates} of a real day") from error
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise SymbolError(f"{where}: year was {day.year}, expected {FIRST_YEAR} to {LAST_YEAR}")
    return day
