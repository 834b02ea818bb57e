"""Stage 2 of 8: the shapes of the messages of Binance's futures that its options have not.

A mark, as others recorded it in 2026-09:

    {"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1789467508000,"s":"BTCUSDT",
     "p":"76986.40000000","ap":"76986.40000000","P":"76996.91044964","i":"77014.72500000",
     "r":"0.00010000","T":1789488000000,"st":1}}

Windows, best prices and answers are read by feeds/venues/binance/wire.py.
"""

from enum import IntEnum
from typing import Final

import msgspec
from msgspec import Struct

from feeds.venues.binance.wire import Ms, Price, PriceOrNone, Sequence63, TradeAmount


class Mark(Struct, gc=False, rename={"time_ms": "E", "instrument_name": "s", "mark": "p",
        "index": "i"}):  # fmt: skip
    """{symbol}@markPrice@1s; the rate of funding `r` is "" for a future, and not read."""

    time_ms: Ms
    instrument_name: str
    mark: Price
    index: PriceOrNone


class Print(Struct, gc=False, rename={"time_ms": "T", "instrument_name": "s", "trade_id": "a",
        "price": "p", "size": "q", "bought_by_maker": "m"}):  # fmt: skip
    """{symbol}@aggTrade: fills of 100 ms with one price and one taker's side, gathered.

    The taker sold where the buyer was the maker.
    """

    time_ms: Ms
    instrument_name: str
    trade_id: Sequence63
    price: Price
    size: TradeAmount
    bought_by_maker: bool


class Family(IntEnum):
    """Which of the venue's families a contract is of, where one stream names both."""

    LINEAR = 1
    INVERSE = 2


class ContractInfo(Struct, gc=False, rename={"instrument_name": "s", "contract_type": "ct",
        "status": "cs", "family": "st"}):  # fmt: skip
    """!contractInfo: a contract was listed, settled, or had its margins changed."""

    instrument_name: str
    contract_type: str
    status: str
    family: Family = Family.LINEAR


class _MarkMessage(Struct, gc=False):
    data: Mark


class _PrintMessage(Struct, gc=False):
    data: Print


class _ContractMessage(Struct, gc=False):
    data: ContractInfo


read_mark: Final = msgspec.json.Decoder(_MarkMessage, strict=False).decode
read_print: Final = msgspec.json.Decoder(_PrintMessage, strict=False).decode
read_contract: Final = msgspec.json.Decoder(_ContractMessage).decode
