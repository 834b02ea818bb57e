"""What the tests of Gate share: frames in the documented shape."""

from typing import Any

from tests.feeds.venue_frames import frame

CALL, PUT = "BTC_USDT-20211130-50000-C", "BTC_USDT-20211231-59800-P"
INDEX = "BTC_USDT/INDEX"
IDS = {CALL: 0, PUT: 1, INDEX: 2}
AT_S, AT_MS = 1630650445, 1541500161123


def message(channel: str, event: str, result: Any, **more: Any) -> bytes:
    head = {"time": AT_S, "channel": f"options.{channel}", "event": event}
    return frame(head | more | {"result": result})


def level(price: str, size: float) -> dict[str, Any]:
    return {"p": price, "s": size}


def book(number: int, bids: Any = (), asks: Any = (), name: str = CALL, **more: Any) -> bytes:
    sides = {
        "asks": [level(*one) for one in asks],
        "bids": [level(*one) for one in bids],
    }
    result = {"t": AT_MS, "contract": name, "id": number} | sides
    return message("order_book", "all", result | more)


def changes(*entries: tuple[int, str, float], name: str = CALL) -> bytes:
    """An update of a book: number, price and signed size of each entry."""
    result = [{"p": p, "s": s, "c": name, "id": number} for number, p, s in entries]
    return message("order_book", "update", result)


def quote(name: str = CALL, **values: Any) -> bytes:
    result = {"t": AT_MS, "u": 9, "s": name, "b": "54696.6", "B": 37000, "a": "54696.7", "A": 47061}
    return message("book_ticker", "update", result | values)


def ticker(name: str = CALL, **values: Any) -> bytes:
    return message("contract_tickers", "update", {"name": name} | values)


def trade(**changed: Any) -> dict[str, Any]:
    return {
        "contract": CALL, "create_time": 1639144526, "id": 12279, "price": 997.8, "size": -100,
        "create_time_ms": 1639144526597, "underlying": "BTC_USDT", "is_call": True,
    } | changed  # fmt: skip


def trades(*prints: Any) -> bytes:
    return message("ul_trades", "update", prints)


def price(**values: Any) -> bytes:
    result = {"underlying": "BTC_USDT", "price": 49653.24, "time": 1639143988}
    return message("ul_price", "update", result | {"time_ms": 1639143988931} | values)


def answer(number: int | None = 7, error: Any = None, event: str = "subscribe") -> bytes:
    said = {"error": error} if number is None else {"id": number, "error": error}
    return message("order_book", event, None if error else {"status": "success"}, **said)


def contract(**changed: Any) -> dict[str, Any]:
    """The documented example of a contract, its expiry put on the day of its name."""
    return {
        "name": "BTC_USDT-20211130-65000-C", "tag": "WEEK", "create_time": 1636702700,
        "expiration_time": 1638259200, "is_call": True, "strike_price": "65000",
        "last_price": "13000", "mark_price": "14010", "orderbook_id": 9, "trade_id": 1,
        "trade_size": 10, "position_size": 10, "underlying": "BTC_USDT",
        "underlying_price": "70000", "multiplier": "0.0001", "order_price_round": "0.1",
        "mark_price_round": "0.1", "maker_fee_rate": "0.0004", "taker_fee_rate": "0.0004",
        "order_size_min": 1, "order_size_max": 100000, "orders_limit": 50,
    } | changed  # fmt: skip
