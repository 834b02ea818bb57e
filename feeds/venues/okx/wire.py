"""Stage 2 of 8: the shapes of OKX's messages, as typed decoders that read the fields we use.

A real frame, shortened:

    {"arg":{"channel":"books","instId":"ETH-USD-240628-1400-P"},"action":"snapshot","data":[
     {"asks":[["0.038","200","0","1"]],"bids":[["0.035","1550","0","1"]],"ts":"1701388800300",
      "checksum":750243667,"seqId":7966474,"prevSeqId":-1}]}

Nearly every number comes as text, so the decoders are lax: a text that is a JSON number is read as
one. The limits in the types are the validation, and refuse the `nan` and `inf` that lax reading
would let through. Only values that may be missing stay text, because the venue has several words
for that: `families.numbers` reads them.
"""

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

# Every market frame begins with these bytes; what follows is the channel's name.
PREFIX: Final = b'{"arg":{"channel":"'
ARG_BEGIN: Final = len(b'{"arg":')
PONG: Final = b"pong"

INDEX_SUFFIX: Final = "/INDEX"  # an index has the name of the spot pair

Ms = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]  # fits int64 nanoseconds
Sequence63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # the frame table is int64
SequenceOrNone = Annotated[int, Meta(ge=-1, le=2**63 - 1)]  # -1 says that there is none
# No instrument trades near these; they keep float32 columns and price ticks finite.
Price = Annotated[float, Meta(gt=0, le=1e12)]
PriceOrNone = Annotated[float, Meta(ge=0, le=1e12)]  # 0 says that there is none
Amount = Annotated[float, Meta(ge=0, le=1e15)]
TradeAmount = Annotated[float, Meta(gt=0, le=1e15)]

T = TypeVar("T")
# Price, absolute size, a number that is no longer used, orders.
Level = tuple[Price, Amount, Amount, Amount]
TopLevel = tuple[PriceOrNone, Amount, Amount, Amount]
Top = Annotated[list[TopLevel], Meta(max_length=1)]
One = Annotated[list[T], Meta(min_length=1, max_length=1)]


class Arg(Struct, gc=False, rename="camel"):
    """What names a channel; which of the parts it has depends on the channel.

    `uly` stood for `instFamily` until 2023.
    """

    channel: str
    inst_id: str = ""
    inst_family: str = ""
    uly: str = ""
    inst_type: str = ""


class OfInstrument(Struct, gc=False):
    """The `arg` of a channel of one instrument."""

    instrument_name: str = msgspec.field(name="instId")


class Book(Struct, gc=False, rename="camel"):
    """A snapshot, or the levels that changed, size 0 where one is gone.

    Frames before 2023 have no sequence numbers: no change of theirs follows another.
    """

    asks: list[Level]
    bids: list[Level]
    ts: Ms
    seq_id: Sequence63 = 0
    prev_seq_id: SequenceOrNone = -1


class BookMessage(Struct, gc=False):
    """`books` and its tick-by-tick siblings."""

    arg: OfInstrument
    action: Literal["snapshot", "update"]
    data: One[Book]

    @property
    def instrument_name(self) -> str:
        """Only the `arg` says whose book it is."""
        return self.arg.instrument_name


class WindowMessage(Struct, gc=False):
    """`books5`: the whole window each time."""

    arg: OfInstrument
    data: One[Book]

    @property
    def instrument_name(self) -> str:
        """The same instrument as in the data."""
        return self.arg.instrument_name


class Touch(Struct, gc=False, rename="camel"):
    """Best bid and offer; an empty side has no level."""

    asks: Top
    bids: Top
    ts: Ms
    seq_id: Sequence63 = 0


class TouchMessage(Struct, gc=False):
    """`bbo-tbt`."""

    arg: OfInstrument
    data: One[Touch]

    @property
    def instrument_name(self) -> str:
        """Only the `arg` says whose touch it is."""
        return self.arg.instrument_name


class Trade(Struct, gc=False, rename="camel"):
    """One print; `side` is the taker's, `tradeId` counts within the instrument."""

    instrument_name: str = msgspec.field(name="instId")
    trade_id: str
    px: Price
    sz: TradeAmount
    side: Literal["buy", "sell"]
    ts: Ms
    seq_id: Sequence63 = 0


class Summary(Struct, gc=False, rename="camel"):
    """One option of `opt-summary`: fractions, and the greeks of Black-Scholes in USD.

    Frames of 2021 have no forward.
    """

    instrument_name: str = msgspec.field(name="instId")
    mark_vol: str
    bid_vol: str
    ask_vol: str
    delta: str = msgspec.field(name="deltaBS")
    gamma: str = msgspec.field(name="gammaBS")
    theta: str = msgspec.field(name="thetaBS")
    vega: str = msgspec.field(name="vegaBS")
    ts: Ms
    fwd_px: str = ""


class OpenInterest(Struct, gc=False):
    """`open-interest`: contracts."""

    instrument_name: str = msgspec.field(name="instId")
    oi: str
    ts: Ms


class MarkPrice(Struct, gc=False, rename="camel"):
    """`mark-price`: native quotation."""

    instrument_name: str = msgspec.field(name="instId")
    mark_px: str
    ts: Ms


class IndexTicker(Struct, gc=False, rename="camel"):
    """`index-tickers`."""

    index: str = msgspec.field(name="instId")
    idx_px: Price
    ts: Ms

    @property
    def instrument_name(self) -> str:
        """Symbol of the index listing."""
        return self.index + INDEX_SUFFIX


class InstrumentState(Struct, gc=False, rename="camel"):
    """What tells whether an instrument is one of ours, and how it is.

    Captures of 2022 lack `instFamily` and `ruleType`.
    """

    inst_type: str
    instrument_name: str = msgspec.field(name="instId")
    state: str
    uly: str = ""
    inst_family: str = ""
    settle_ccy: str = ""
    quote_ccy: str = ""
    rule_type: str = ""


class Envelope(Struct, gc=False):
    """Any message; answers and notices have an `event`, the market only an `arg`."""

    event: str | None = None
    arg: Arg | None = None
    id: str | None = None
    code: str = ""
    msg: str = ""


class _Trades(Struct, gc=False):
    data: list[Trade]


class _Summaries(Struct, gc=False):
    data: list[Summary]


class _OpenInterests(Struct, gc=False):
    data: list[OpenInterest]


class _MarkPrices(Struct, gc=False):
    data: list[MarkPrice]


class _IndexTickers(Struct, gc=False):
    data: list[IndexTicker]


class _InstrumentStates(Struct, gc=False):
    data: list[InstrumentState]


def _lax(shape: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape, strict=False)


read_book: Final = _lax(BookMessage).decode
read_window: Final = _lax(WindowMessage).decode
read_touch: Final = _lax(TouchMessage).decode
read_trades: Final = _lax(_Trades).decode
read_summaries: Final = _lax(_Summaries).decode
read_open_interests: Final = _lax(_OpenInterests).decode
read_mark_prices: Final = _lax(_MarkPrices).decode
read_index_tickers: Final = _lax(_IndexTickers).decode
read_instrument_states: Final = _lax(_InstrumentStates).decode
read_instrument_state: Final = _lax(InstrumentState).decode
read_envelope: Final = _lax(Envelope).decode
read_arg: Final = _lax(Arg).decode
read_numbers: Final = msgspec.json.Decoder(list[float | None]).decode
