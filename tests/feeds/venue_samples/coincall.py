"""Frames of Coincall."""

from tests.feeds.coincall_frames import (
    CALL,
    INDEX,
    book,
    chain,
    entry,
    instrument,
    trade,
    trades,
    values,
)
from tests.feeds.coincall_frames import body as listed
from tests.feeds.venue_frames import frame

IDS = {CALL: 0, INDEX: 1}
FRAMES = [
    book([("1", "0.2"), ("0.9", "3")], [("4038.58", "1")]),
    values(mp=834.28, ip="31059.68", delta=0.34898, iv=0.4728, theta=-29.1, oi=1000.0, up=31248.97,
           gamma=0.0001, vega=29.7),
    chain(entry(biv=0.4, aiv=0.5, mp="4", up=31038.5, oi=1, delta=1), entry("X", bid=None)),
    trades(trade(), trade(sd=2, q=0.5)),
    frame({"c": 11, "rc": 1}),
    frame({"c": 20, "rc": 0}),
]  # fmt: skip
BODIES = [listed(instrument(), instrument(symbolName="BTCUSD-14SEP23-0.1250-P", strike=0.125))]
