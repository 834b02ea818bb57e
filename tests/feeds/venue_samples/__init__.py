"""Short frames of every venue in its documented shape, written by hand: food for mutation."""

from types import ModuleType
from typing import Final

from tests.feeds.venue_samples import binance, coincall, derive, gate

SAMPLES: Final[dict[str, ModuleType]] = {
    "binance": binance,
    "derive": derive,
    "gate": gate,
    "coincall": coincall,
}
