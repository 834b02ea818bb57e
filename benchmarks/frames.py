"""Seeded Deribit frames for the decode question: shapes as recorded, values at random."""

import json
import random

SIDES = ("bids", "asks")


def _envelope(channel: str, data: object) -> bytes:
    message = {"jsonrpc": "2.0", "method": "subscription",
               "params": {"channel": channel, "data": data}}  # fmt: skip
    return json.dumps(message, separators=(",", ":")).encode()


def symbols(count: int) -> list[str]:
    """Names of `count` options."""
    return [f"BTC-27MAR26-{50_000 + 500 * i}-{'CP'[i % 2]}" for i in range(count)]


def _price(rng: random.Random) -> float:
    return round(rng.randrange(10, 2_000) * 0.0005, 4)


def books(rng: random.Random, names: list[str], count: int) -> tuple[list[bytes], list[bytes]]:
    """A snapshot of every book, and frames of one to three changed levels, chained per instrument.

    Levels that are changed or deleted are there, as handlers that keep books insist on.
    """
    held = {name: {side: dict.fromkeys(_prices(rng, 20), 1.0) for side in SIDES} for name in names}
    last = dict.fromkeys(names, 1)
    snapshots = [_book(name, 1, None, {side: [["new", price, size] for price, size in levels.items()]
                                       for side, levels in held[name].items()}) for name in names]  # fmt: skip
    frames = []
    for k in range(count):
        name = rng.choice(names)
        sides: dict[str, list[list[object]]] = {side: [] for side in SIDES}
        for side in rng.choices(SIDES, k=rng.randint(1, 3)):
            sides[side].append(_change(rng, held[name][side]))
        frames.append(_book(name, 1_000 + k, last[name], sides))
        last[name] = 1_000 + k
    return snapshots, frames


def _prices(rng: random.Random, count: int) -> list[float]:
    return [round(step * 0.0005, 4) for step in rng.sample(range(10, 2_000), count)]


def _change(rng: random.Random, levels: dict[float, float]) -> list[object]:
    """Change one level of a side; never delete the last few."""
    action = rng.choice(["new", "change", "change", "delete"])
    price = rng.choice(list(levels))
    if action == "delete" and len(levels) > 5:
        del levels[price]
        return ["delete", price, 0.0]
    if action == "new":
        price = _price(rng)
    known = price in levels
    levels[price] = round(rng.uniform(0.1, 90), 1)
    return ["change" if known else "new", price, levels[price]]


def _book(name: str, change_id: int, previous: int | None, sides: dict[str, list[list[object]]]) -> bytes:  # fmt: skip
    data = {"type": "snapshot" if previous is None else "change", "timestamp": 1_767_787_200_000 + 10 * change_id,
            **({} if previous is None else {"prev_change_id": previous}),
            "instrument_name": name, "change_id": change_id, **sides}  # fmt: skip
    return _envelope(f"book.{name}.100ms", data)


def tickers(rng: random.Random, names: list[str], count: int) -> list[bytes]:
    """Whole tickers."""
    frames = []
    for k in range(count):
        name = rng.choice(names)
        iv = round(rng.uniform(30, 90), 2)
        data = {
            "timestamp": 1_767_787_200_000 + 10 * k,
            "stats": {"volume_usd": 1234.5, "volume": 3.2, "price_change": None, "low": 0.01, "high": 0.02},
            "state": "open", "settlement_price": 0.01, "open_interest": round(rng.uniform(0, 900), 1),
            "min_price": 0.0001, "max_price": 0.05, "mark_price": round(rng.uniform(0.001, 0.2), 4),
            "mark_iv": iv, "bid_iv": round(iv - 1, 2), "ask_iv": round(iv + 1, 2), "last_price": _price(rng),
            "interest_rate": 0.0, "instrument_name": name, "index_price": 88_000.25,
            "greeks": {"vega": 31.2, "theta": -12.5, "rho": 3.1, "gamma": 0.00001, "delta": 0.41},
            "estimated_delivery_price": 88_000.25, "best_bid_price": _price(rng), "best_bid_amount": 12.5,
            "best_ask_price": _price(rng), "best_ask_amount": 7.1,
            "underlying_price": 88_410.5, "underlying_index": "BTC-27MAR26",
        }  # fmt: skip
        frames.append(_envelope(f"ticker.{name}.100ms", data))
    return frames


def trades(rng: random.Random, names: list[str], count: int) -> list[bytes]:
    """One print a frame."""
    frames = []
    for k in range(count):
        data = [{
            "trade_seq": k, "trade_id": str(300_000_000 + k), "timestamp": 1_767_787_200_000 + 10 * k,
            "tick_direction": 1, "price": _price(rng), "mark_price": 0.0512, "iv": 51.2,
            "instrument_name": rng.choice(names), "index_price": 88_000.25,
            "direction": rng.choice(["buy", "sell"]), "contracts": 3.0, "amount": round(rng.uniform(0.1, 20), 1),
        }]  # fmt: skip
        frames.append(_envelope("trades.option.BTC.100ms", data))
    return frames
