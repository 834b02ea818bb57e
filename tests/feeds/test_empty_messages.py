"""Messages of channels we read that list nothing: no frame may vanish without a count."""

import pytest

from feeds.events import DecodeOut
from feeds.venues import VENUES
from tests.feeds.venue_frames import RX_NS, frame

NOTHING = {
    "deribit prints": ("deribit", {"jsonrpc": "2.0", "method": "subscription",
        "params": {"channel": "trades.option.BTC.100ms", "data": []}}),
    "deribit marks": ("deribit", {"jsonrpc": "2.0", "method": "subscription",
        "params": {"channel": "markprice.options.btc_usd", "data": []}}),
    "binance chain": ("binance", {"stream": "btc@optionMarkPrice", "data": []}),
    "okx prints": ("okx", {"arg": {"channel": "option-trades", "instFamily": "X"}, "data": []}),
    "okx interests": ("okx", {"arg": {"channel": "open-interest", "instId": "X"}, "data": []}),
    "bybit prints": ("bybit", {"topic": "publicTrade.BTC", "ts": 1, "type": "snapshot",
        "data": []}),
    "derive prints": ("derive", {"method": "subscription",
        "params": {"channel": "trades.option.BTC", "data": []}}),
    "derive spots": ("derive", {"method": "subscription",
        "params": {"channel": "spot_feed.BTC", "data": {"timestamp": 1, "feeds": {}}}}),
    "delta tickers": ("delta_india", {"d": [], "sp": "1", "ts": 1, "type": "ticker"}),
    "bullish prints": ("bullish", {"type": "update", "dataType": "V1TAAnonymousTradeUpdate",
        "data": {"symbol": "X", "trades": []}}),
    "aevo quotes": ("aevo", {"channel": "book-ticker:BTC:OPTION",
        "data": {"timestamp": "1", "tickers": []}}),
    "thalex prints": ("thalex", {"channel_name": "recent_trades.BTCUSD.all", "notification": []}),
    "thalex chain": ("thalex", {"channel_name": "lwt_options.BTCUSD.all.1000ms",
        "notification": {"tickers": {}}}),
    "thalex turns": ("thalex", {"channel_name": "instruments", "notification": []}),
    "thalex turn": ("thalex", {"channel_name": "instruments", "notification": [{}]}),
    "gate prints": ("gate", {"time": 1, "time_ms": 1000, "channel": "options.ul_trades",
        "event": "update", "result": []}),
    "coincall chain": ("coincall", {"dt": 4, "c": 20, "d": []}),
    "coincall prints": ("coincall", {"dt": 6, "c": 20, "d": []}),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_a_message_without_entries_is_counted(name):
    venue, content = NOTHING[name]
    out = DecodeOut()
    VENUES[venue].decode([frame(content)], [RX_NS], {}, out)
    assert out.errors == []
    assert (out.rows.count, out.tickers.count, out.frames.count) == (0, 0, 0)
    assert out.skipped == {"no_entries": 1}
