"""What the tests of Aevo share: frames of its documented shape."""

import zlib
from collections.abc import Sequence
from typing import Any

from tests.feeds.venue_frames import frame

CALL, PUT = "ETH-31MAR23-1350-C", "ETH-31MAR23-1350-P"
PERP, INDEX = "ETH-PERP", "ETH/INDEX"
IDS = {CALL: 0, PUT: 1, PERP: 2, INDEX: 3}
AT = 1673436052887313432  # ns: beyond what a float64 holds exactly

Levels = Sequence[Sequence[str]]


def message(channel: str, data: Any, **more: Any) -> bytes:
    return frame({"channel": channel, "data": data} | more)


def crc(text: str) -> str:
    """Checksum of a preimage written out in a test."""
    return str(zlib.crc32(text.encode()))


def book(
    kind: str,
    bids: Levels = (),
    asks: Levels = (),
    preimage: str = "",
    symbol: str = CALL,
    at: int = AT,
    **more: Any,
) -> bytes:
    """A frame of a book; `preimage` is the text of the whole book after it."""
    data = {
        "type": kind, "instrument_id": "165", "instrument_name": symbol,
        "instrument_type": "OPTION", "bids": bids, "asks": asks, "last_updated": str(at),
        "checksum": crc(preimage),
    }  # fmt: skip
    return message(f"orderbook-100ms:{symbol}", data | more)


def quote(bid: Any, ask: Any, symbol: str = CALL) -> dict[str, Any]:
    return {
        "instrument_id": 165, "instrument_name": symbol, "instrument_type": "OPTION",
        "bid": bid, "ask": ask,
    }  # fmt: skip


def quotes(*entries: Any) -> bytes:
    return message("book-ticker:ETH:OPTION", {"timestamp": str(AT), "tickers": entries})


# The documented example of ticker-500ms, its numbers and all.
TICKER = quote(
    {"price": "2", "delta": "0.2159147503564693", "theta": "-0.03033364841496897",
     "gamma": "0.017935537671398397", "rho": "0.6193026765188775", "vega": "2.466304065911212",
     "iv": "0.026280592178461275", "amount": "10"},
    {"price": "10", "delta": "0.3756922766741976", "theta": "-0.09391922572782523",
     "gamma": "0.009719490995099413", "rho": "1.063503444637495", "vega": "2.466304065911212",
     "iv": "0.06281820373274899", "amount": "1"},
) | {
    "funding_rate": "0.000026", "next_funding_rate": "0.00002",
    "mark": {"price": "140.007862", "delta": "0.540531375408708", "theta": "-0.9224266733203602",
             "gamma": "0.0010828257944813621", "rho": "1.2586305929021393",
             "vega": "2.466304065911212", "iv": "0.5898161402416873"},
}  # fmt: skip
TICKER_NS = 1673436965238291661


def tickers(*entries: Any, channel: str = "ticker-500ms:ETH:OPTION") -> bytes:
    return message(channel, {"timestamp": str(TICKER_NS), "tickers": entries})


def trade(**changes: Any) -> bytes:
    data = {
        "trade_id": "0x17897e438f15c459a3a4ed44687dc7f0c4c678b2b005ea87bbae35346f279f02",
        "instrument_id": 830, "instrument_name": PUT, "instrument_type": "OPTION",
        "side": "sell", "price": "0.58", "amount": "1.5",
        "created_timestamp": "1674118637229190091",
    } | changes  # fmt: skip
    return message("trades:ETH", data)


def index(price: str = "1337.16", asset: str = "ETH") -> bytes:
    return message(f"index:{asset}", {"price": price, "timestamp": "1673438070391698947"})


def entry(symbol: str = CALL, **changes: Any) -> dict[str, Any]:
    """One option of /markets in the documented shape."""
    return {
        "instrument_id": "165", "instrument_name": symbol, "instrument_type": "OPTION",
        "underlying_asset": "ETH", "quote_asset": "USDC", "price_step": "0.05",
        "amount_step": "0.1", "min_order_value": "0.1", "max_order_value": "0.1",
        "max_notional_value": "0.1", "mark_price": "12.23", "forward_price": "12.23",
        "index_price": "12.23", "is_active": True,
        "option_type": "call" if symbol.endswith("C") else "put",
        "expiry": "1680249600000000000", "strike": "1350",
        "greeks": {"delta": "0.23", "iv": "0.23"}, "max_leverage": "12",
    } | changes  # fmt: skip


def perpetual(symbol: str = PERP, **changes: Any) -> dict[str, Any]:
    return {
        "instrument_id": "1", "instrument_name": symbol, "instrument_type": "PERPETUAL",
        "underlying_asset": "ETH", "quote_asset": "USDC", "price_step": "0.01",
        "amount_step": "0.01", "mark_price": "1337.2", "index_price": "1337.16",
        "is_active": True, "max_leverage": "20",
    } | changes  # fmt: skip


FRAMES = [
    book("snapshot", [["9", "2", "0.7"], ["8.5", "4", "0.69"]], [["10", "1", "0.8"]],
         "9:2:10:1:8.5:4"),
    book("update", [["9", "0", "0"]], [["10", "3", "0.8"]], "8.5:4:10:3", at=AT + 1),
    quotes(TICKER, quote({}, {"price": "3", "amount": "1"}, PUT)),
    tickers(TICKER),
    trade(),
    index(),
    frame({"id": 1001, "data": ["trades:ETH"]}),
    frame({"id": 1, "data": {"success": True, "timestamp": "1673436052887313432"}}),
]  # fmt: skip
