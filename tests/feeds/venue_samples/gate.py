"""Frames of Gate."""

from tests.feeds.gate_frames import (
    CALL,
    INDEX,
    answer,
    book,
    changes,
    contract,
    price,
    quote,
    ticker,
    trade,
    trades,
)
from tests.feeds.venue_frames import frame

IDS = {CALL: 0, INDEX: 1}
FRAMES = [
    book(5, [("96.9", 10), ("96.8", 4)], [("97.1", 2245)]),
    changes((6, "97.0", -3), (7, "96.9", 0)),
    quote(a="", A=0),
    ticker(mark_price="11170.19", index_price="", position_size=993, delta="-0.78311",
           gamma="0.00003", vega="34.8731", theta="-72.80588", mark_iv="0.86695",
           bid_iv="0.65481", ask_iv="0.88145"),
    trades(trade(), trade(id=12280, size=3)),
    price(),
    answer(),
    answer(8, {"code": 2, "message": "too many"}),
    frame({"time": 1630566602, "channel": "options.pong", "event": "", "error": None,
           "result": None}),
]  # fmt: skip
BODIES = [
    frame([contract(), contract(name="BTC_USDT-20211130-0.5-P", strike_price=0.5, is_call=False)])
]
