"""Short frames of every venue in its documented shape, written by hand: food for mutation."""

from types import ModuleType
from typing import Final

from tests.feeds.venue_samples import aevo, binance, derive, thalex

SAMPLES: Final[dict[str, ModuleType]] = {
    "aevo": aevo, "binance": binance, "derive": derive, "thalex": thalex,
}  # fmt: skip
