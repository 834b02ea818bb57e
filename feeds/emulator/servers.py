"""Stage 1 of 8, simulated: the one list of emulated venues."""

from collections.abc import Mapping
from typing import Final

from feeds.emulator.deribit.server import DeribitServer
from feeds.emulator.server import VenueServer
from feeds.emulator.venues.aevo import AevoServer
from feeds.emulator.venues.binance import BinanceServer
from feeds.emulator.venues.binance_futures import BinanceFuturesServer
from feeds.emulator.venues.binance_spot import BinanceSpotServer
from feeds.emulator.venues.bullish import BullishServer
from feeds.emulator.venues.bybit import BybitServer
from feeds.emulator.venues.coincall import CoincallServer
from feeds.emulator.venues.delta import DeltaIndiaServer, DeltaServer
from feeds.emulator.venues.derive import DeriveServer
from feeds.emulator.venues.gate import GateServer
from feeds.emulator.venues.okx import OkxServer
from feeds.emulator.venues.thalex import ThalexServer

SERVERS: Final[Mapping[str, type[VenueServer]]] = {
    "deribit": DeribitServer,
    "binance": BinanceServer,
    "binance_futures": BinanceFuturesServer,
    "binance_spot": BinanceSpotServer,
    "okx": OkxServer,
    "bybit": BybitServer,
    "derive": DeriveServer,
    "delta": DeltaServer,
    "delta_india": DeltaIndiaServer,
    "bullish": BullishServer,
    "aevo": AevoServer,
    "thalex": ThalexServer,
    "gate": GateServer,
    "coincall": CoincallServer,
}
