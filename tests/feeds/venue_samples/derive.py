"""Frames of Derive."""

import json

from tests.feeds.derive_frames import CALL, book, notification, ticker, trade, trades

IDS = {CALL: 0, "ETH-USD": 1}
FRAMES = [
    book([["340", "0.4"], ["330", "1"]], [["420", "0.4"]]),
    ticker(),
    ticker(100),
    trades(trade(), trade(trade_id="x", rfq_id="r")),
    notification("spot_feed.ETH", {
        "timestamp": 1700000000123, "feeds": {"ETH": {"price": "2485.17", "confidence": "1"}}}),
    b'{"id":1,"result":1700000000123}',
]  # fmt: skip
BODIES = [
    json.dumps(
        {"result": {"instruments": [{
            "instrument_name": CALL, "instrument_type": "option", "is_active": True,
            "tick_size": "0.1", "amount_step": "0.01", "minimum_amount": "0.1",
            "base_currency": "ETH", "quote_currency": "USDC",
            "option_details": {"index": "ETH-USD", "expiry": 1782547200, "strike": "3500",
                               "option_type": "C", "settlement_price": None}}],
            "pagination": {"count": 1, "num_pages": 1}}}
    ).encode()
]  # fmt: skip
