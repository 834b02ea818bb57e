"""Symbol grammars: every recorded name reads and prints back to itself."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.contract import Contract, expiry_ns, occ_expiry_ns
from feeds.errors import SymbolError
from feeds.grammar import (
    GRAMMARS,
    ParsedSymbol,
    default_contract,
    default_expiry_ns,
    parse,
    print_symbol,
    symbol_of,
)
from tests.conftest import shared

NAME_FIELDS = {
    "instrument_name", "instId", "symbol", "s", "instrument", "name", "symbolName", "contract",
    "instrument_id", "displayName", "symbols",
}  # fmt: skip

# Folder of the fixtures, venue, and options found there when the design pages were written.
# Bybit's 12 are nine symbols and three display names, which its grammar reads as another root.
FOLDERS = [
    ("deribit", "deribit", 579),
    ("okx", "okx", 436),
    ("delta", "delta", 376),
    ("binance", "binance", 13),
    ("bybit", "bybit", 12),
    ("coincall", "coincall", 6),
    ("gateio", "gate", 5),
    ("bullish", "bullish", 1),
    ("derive", "derive", 1),
    ("aevo", "aevo", 1),
]


def documents(path: Path) -> Iterator[Any]:
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    return (json.loads(line) for line in lines if line.strip())


def named(node: Any, field: str = "") -> Iterator[str]:
    """Texts that stand in a field of a name, at any depth; chosen by field, not by form."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from named(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from named(value, field)
    elif isinstance(node, str) and field in NAME_FIELDS:
        yield node


def names_of(folder: str) -> set[str]:
    root = shared(f"fixtures/{folder}")
    files = [path for path in root.iterdir() if path.suffix in (".json", ".jsonl")]
    return {name for path in files for document in documents(path) for name in named(document)}


def split(venue: str, names: set[str]) -> tuple[set[str], set[str]]:
    options, others = set(), set()
    for name in names:
        try:
            parsed = parse(venue, name)
        except SymbolError:
            others.add(name)
        else:
            assert print_symbol(parsed) == name
            options.add(name)
    return options, others


@pytest.mark.parametrize(("folder", "venue", "count"), FOLDERS)
def test_recorded_options_print_back_to_themselves(folder: str, venue: str, count: int) -> None:
    options, others = split(venue, names_of(folder))
    assert len(options) >= count
    assert not [name for name in others if name.endswith(("-C", "-P"))]


def test_deribit_names_outside_the_grammar_are_no_options() -> None:
    _, others = split("deribit", names_of("deribit"))
    assert others == {
        # perpetuals
        "BTC-PERPETUAL", "ETH-PERPETUAL", "SOL-PERPETUAL",
        *(f"{coin}_USDC-PERPETUAL" for coin in (
            "ADA", "ALGO", "AVAX", "BCH", "BTC", "DOGE", "DOT", "ETH", "LINK", "LTC", "MATIC",
            "NEAR", "SOL", "TRX", "UNI", "XRP",
        )),
        # futures
        "BTC-23JUL21", "BTC-24JUN22", "BTC-24SEP21", "BTC-25MAR22", "BTC-27AUG21", "BTC-30JUL21",
        "BTC-31DEC21", "SOL-10JUN22", "SOL-24JUN22", "SOL-29JUL22", "SOL-3JUN22",
        # combos: spreads, ratio spreads, straddles, strangles
        "BTC-CS-19MAY26-70000_75000", "BTC-CSR12-16SEP22-21000_23000", "BTC-STRD-29MAY26-77000",
        "BTC-STRD-30SEP22-20000", "BTC-STRG-19MAY26-74000_78500", "BTC-STRG-19MAY26-74000_79000",
        "BTC-STRG-29MAY26-72000_80000", "BTC-STRG-5JUN26-70000_83000",
    }  # fmt: skip


def test_okx_names_outside_the_grammar_are_no_options() -> None:
    _, others = split("okx", names_of("okx"))
    assert {name for name in others if "-" in name} >= {"BTC-USD-220527", "BTC-USDT-SWAP"}


def test_delta_straddles_are_no_single_option() -> None:
    _, others = split("delta", names_of("delta"))
    straddles = {name for name in others if name.startswith("MV-")}
    assert straddles
    assert not [name for name in others if name[:2] in ("C-", "P-")]


def test_every_opra_name_of_two_days_agrees_with_its_fields() -> None:
    path = shared("fixtures/databento/opra_SPY_symbology_2023-08_first_two_days_per_symbol.csv")
    with path.open() as file:
        names = {row["raw_symbol"] for row in csv.DictReader(file)}
    assert len(names) == 13_492
    for name in names:
        parsed = parse("occ", name)
        assert print_symbol(parsed) == name
        assert (parsed.root, parsed.underlying) == ("SPY", "SPY")
        assert name[6:12] == parsed.day.strftime("%y%m%d")
        assert parsed.strike_e9 == int(name[13:]) * 10**6


def test_bybit_strike_and_expiry_are_those_of_the_name() -> None:
    assert parse("bybit", "XRP-30OCT26-0.4-P-USDT") == ParsedSymbol(
        venue="bybit", root="XRP", underlying="XRP", quote="USDT", day=date(2026, 10, 30),
        strike_e9=400_000_000, right="P", suffix="-USDT", mark=".", decimals=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "symbol", "underlying", "quote", "day", "strike_e9", "right"),
    [
        ("deribit", "BTC-8JUN20-8750-P", "BTC", None, (2020, 6, 8), 8_750 * 10**9, "P"),
        ("deribit", "MATIC_USDC-9MAR24-1d02-C", "MATIC", "USDC", (2024, 3, 9), 1_020_000_000, "C"),
        ("deribit", "AVAX_USDC-29MAY26-8D6-P", "AVAX", "USDC", (2026, 5, 29), 8_600_000_000, "P"),
        ("okx", "BTC-USD-260925-100000-C", "BTC", "USD", (2026, 9, 25), 10**14, "C"),
        ("bybit", "BTC-28APR23-29500-C", "BTC", "USDC", (2023, 4, 28), 29_500 * 10**9, "C"),
        ("binance", "BTC-260925-86000-C", "BTC", "USDT", (2026, 9, 25), 86_000 * 10**9, "C"),
        ("derive", "ETH-20260627-2400_5-C", "ETH", "USDC", (2026, 6, 27), 2_400_500_000_000, "C"),
        ("delta", "P-BTC-90000-310126", "BTC", None, (2026, 1, 31), 90_000 * 10**9, "P"),
        ("gate", "BTC_USDT-20211130-65000-C", "BTC", "USDT", (2021, 11, 30), 65_000 * 10**9, "C"),
        ("aevo", "ETH-31MAR23-1350-C", "ETH", "USDC", (2023, 3, 31), 1_350 * 10**9, "C"),
        ("thalex", "BTC-27MAR26-100000-C", "BTC", "USD", (2026, 3, 27), 10**14, "C"),
        ("bullish", "BTC-USDC-20260425-70000-C", "BTC", "USDC", (2026, 4, 25), 7 * 10**13, "C"),
        ("coincall", "BTCUSD-27DEC24-65000-C", "BTC", "USD", (2024, 12, 27), 65_000 * 10**9, "C"),
        ("occ", "SPY   240119P00340000", "SPY", "USD", (2024, 1, 19), 340 * 10**9, "P"),
        ("occ", "SPXW  240119C04770500", "SPX", "USD", (2024, 1, 19), 4_770_500_000_000, "C"),
        ("occ", "AAPL1 240119C00000500", "AAPL1", "USD", (2024, 1, 19), 500_000_000, "C"),
    ],
)
def test_name_says_what_its_venue_documents(
    venue: str, symbol: str, underlying: str, quote: str | None, day: tuple[int, int, int],
    strike_e9: int, right: str,
) -> None:  # fmt: skip
    parsed = parse(venue, symbol)
    assert (parsed.underlying, parsed.quote, parsed.day) == (underlying, quote, date(*day))
    assert (parsed.strike_e9, parsed.right) == (strike_e9, right)
    assert print_symbol(parsed) == symbol


def test_names_of_three_venues_share_one_contract() -> None:
    names = [("deribit", "BTC-27MAR26-100000-C"), ("okx", "BTC-USD-260327-100000-C"),
             ("binance", "BTC-260327-100000-C")]  # fmt: skip
    contracts = {default_contract(parse(venue, name)) for venue, name in names}
    assert contracts == {Contract("BTC", expiry_ns(date(2026, 3, 27), 8), 10**14, "C")}
    assert default_contract(parse("delta", "C-BTC-100000-270326")) not in contracts


def test_default_expiry_is_the_usual_hour() -> None:
    assert default_expiry_ns(parse("delta", "C-BTC-90000-310126")) == expiry_ns(
        date(2026, 1, 31), 12
    )
    assert default_expiry_ns(parse("occ", "SPX   240119C04770000")) == occ_expiry_ns(
        "SPX", date(2024, 1, 19)
    )


def test_opra_names_of_a_real_chain_agree_with_its_fields() -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(shared("data/tables/twx_20140605/listings.parquet"))
    options = [row for row in table.to_pylist() if row["kind"] == "option"]
    assert len(options) == 184
    for row in options:
        parsed = parse("occ", row["symbol"])
        assert default_expiry_ns(parsed) == row["expiry_ns"]
        assert (parsed.strike_e9, parsed.right) == (row["strike_e9"], row["right"])


@pytest.mark.parametrize(
    ("venue", "symbol"),
    [
        ("deribit", ""),
        ("deribit", "BTC-PERPETUAL"),
        ("deribit", "BTC-27MAR26"),
        ("deribit", "BTC-31FEB26-100000-C"),
        ("deribit", "BTC-0MAR26-100000-C"),
        ("deribit", "BTC-27MRZ26-100000-C"),
        ("deribit", "BTC-27MAR26-0-C"),
        ("deribit", "BTC-27MAR26-0100-C"),
        ("deribit", "BTC-27MAR26-1.5-C"),
        ("deribit", "btc-27MAR26-100000-C"),
        ("deribit", "BTC-27MAR26-100000-C\n"),
        ("deribit", "BTC-27MAR26-100000-c"),
        ("deribit", "BTC-27MAR26-99999999999-C"),
        ("deribit", "BTC-STRD-29MAY26-77000"),
        ("okx", "BTC-USD-260327-100000"),
        ("okx", "BTC-260327-100000-C"),
        ("bybit", "BTC-25JUN27-106000-P-EUR"),
        ("binance", "BTC-260327-1_5-C"),
        ("derive", "ETH-PERP"),
        ("derive", "ETH-99991231-3500-C"),
        ("delta", "MV-BTC-90000-310126"),
        ("delta", "C-BTC-90000-311326"),
        ("coincall", "BTC-27DEC24-65000-C"),
        ("occ", "SPY 240119P00340000"),
        ("occ", "SPY   240119P00000000"),
        ("occ", "UD:1N: GN 240119P0034"),
        ("huobi", "BTC-USDT-210521-P-42000"),
    ],
)
def test_other_texts_are_refused_with_a_reason(venue: str, symbol: str) -> None:
    with pytest.raises(SymbolError, match=r"was .* expected"):
        parse(venue, symbol)


ROOTS = {
    "deribit": ["BTC", "MATIC_USDC"],
    "okx": ["BTC-USD", "ETH-USD_UM"],
    "gate": ["BTC_USDT"],
    "bullish": ["BTC-USDC"],
    "coincall": ["BTCUSD"],
    "occ": ["SPY", "SPXW", "GOOGL7"],
}


@given(st.data())
def test_composed_names_of_every_venue_read_back(data: st.DataObject) -> None:
    venue = data.draw(st.sampled_from(sorted(GRAMMARS)))
    step = 10**6 if venue == "occ" else data.draw(st.sampled_from([1, 10**7, 10**8, 10**9]))
    end = 10**14 // step - 1 if venue == "occ" else (2**63 - 1) // step
    composed = symbol_of(
        venue,
        data.draw(st.sampled_from(ROOTS.get(venue, ["BTC", "XRP", "1INCH"]))),
        data.draw(st.dates(date(2000, 1, 1), date(2099, 12, 31))),
        data.draw(st.integers(1, end)) * step,
        data.draw(st.sampled_from("CP")),
        data.draw(st.sampled_from(["", "-USDT", "-USDC"])) if venue == "bybit" else "",
    )
    assert parse(venue, print_symbol(composed)) == composed


def prints_back_or_is_refused(venue: str, text: str) -> bool:
    try:
        parsed = parse(venue, text)
    except SymbolError:
        return True
    return print_symbol(parsed) == text


@given(st.sampled_from(sorted(GRAMMARS)), st.text(max_size=40))
def test_any_text_is_a_name_or_a_symbol_error(venue: str, text: str) -> None:
    assert prints_back_or_is_refused(venue, text)


@given(st.data())
def test_texts_near_the_grammar_print_back_to_themselves(data: st.DataObject) -> None:
    venue = data.draw(st.sampled_from(sorted(GRAMMARS)))
    text = data.draw(st.from_regex(GRAMMARS[venue].pattern, fullmatch=True))
    assert prints_back_or_is_refused(venue, text)


@pytest.mark.parametrize(
    "change",
    [
        {"right": "X"},
        {"strike_e9": 0},
        {"strike_e9": 1_025_000_000},  # finer than its two decimals
        {"suffix": "-USDT"},
        {"root": "MATIC-USDC"},
        {"underlying": "BTC"},
        {"day": date(1999, 1, 1)},
        {"mark": "."},
    ],
)
def test_parts_a_venue_cannot_spell_are_refused(change: dict[str, Any]) -> None:
    parsed = parse("deribit", "MATIC_USDC-9MAR24-1d02-C")
    with pytest.raises(SymbolError):
        print_symbol(replace(parsed, **change))


@pytest.mark.parametrize("strike_e9", [1, 10**5, 10**14, -(10**6)])
def test_occ_strike_off_the_thousandth_is_refused(strike_e9: int) -> None:
    with pytest.raises(SymbolError, match="strike was"):
        print_symbol(replace(parse("occ", "SPY   240119P00340000"), strike_e9=strike_e9))


def test_padded_and_plain_days_stay_apart() -> None:
    plain, padded = parse("deribit", "BTC-8JUN20-8750-P"), parse("deribit", "BTC-08JUN20-8750-P")
    assert (plain.day_padded, padded.day_padded) == (False, True)
    assert default_contract(plain) == default_contract(padded)
    assert print_symbol(padded) == "BTC-08JUN20-8750-P"
