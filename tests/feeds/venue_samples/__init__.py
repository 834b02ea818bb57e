"""Short frames of every venue in its documented shape, written by hand: food for mutation."""

from types import ModuleType
from typing import Final

from tests.feeds.venue_samples import (
    aevo,
    binance,
    binance_futures,
    binance_spot,
    coincall,
    derive,
    gate,
    thalex,
)

SAMPLES: Final[dict[str, ModuleType]] = {
    "aevo": aevo,
    "binance": binance,
    "binance_futures": binance_futures,
    "binance_spot": binance_spot,
    "coincall": coincall,
    "derive": derive,
    "gate": gate,
    "thalex": thalex,
}
