"""Stage 1 of 8, simulated: how each emulated venue lists the coins of the one simulated market.

A coin's prices are the market's; its names, ticks, lots and currencies are the venue's. Coins stand
in one order everywhere, so that equal seeds give every venue the same path of prices. The figures
are plausible ones of the venues' pages, simplified: one tick but for a knee, one lot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Coin:
    """What the market knows of an underlying.

    vol: yearly, fraction. weight: share of the options. strike_step: of the finest grid, USD.
    interest: whose the basis is, F = S exp(basis years). "dollar": dollars earn it and coins
    nothing, so that a premium in dollars is S/F of Black-76 and one in coin is Black-76 over F.
    "coin": dollars earn nothing and a lent coin earns minus the basis; a premium in dollars is
    Black-76, one in coin that over S. Either way a premium in coin times S is that in dollars.
    """

    name: str
    nominal: float
    vol: float
    weight: float
    strike_step: float
    interest: Literal["dollar", "coin"]


COINS: Final = (
    Coin("BTC", 60_000.0, 0.50, 0.40, 250.0, "dollar"),
    Coin("ETH", 3_000.0, 0.62, 0.34, 10.0, "dollar"),
    Coin("SOL", 148.0, 0.78, 0.26, 0.5, "coin"),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """How one venue lists one coin for immediate delivery.

    per_unit: ticks in one unit of its price. lot: smallest amount, coins.
    """

    symbol: str
    price_ccy: str
    per_unit: int
    lot: float


@dataclass(frozen=True, slots=True)
class Terms:
    """How one venue lists one coin.

    root, suffix: of its options' names (feeds/grammar.py). currency: what the venue files them
    under. linear: premiums are paid in price_ccy, else in the coin. lot: smallest option amount,
    native; multiplier: coins of one native unit of size. perp_lot: smallest perpetual amount (USD
    for an inverse perpetual, coins for a linear one, or contracts of perp_multiplier). knee: ticks
    of the fine part of the tick table, above which five ticks make one; 0 where the tick is
    constant. Ticks are 1 / per_unit, which keeps wire prices exact decimals. price_per: coins that
    an option's price covers. spot: the coin's pair, where the venue has any.
    """

    root: str
    currency: str
    index: str
    perpetual: str
    linear: bool
    price_ccy: str
    perp_ccy: str
    option_per_unit: int
    perp_per_unit: int
    knee: int
    lot: float
    perp_lot: float
    multiplier: float = 1.0
    perp_multiplier: float = 1.0
    suffix: str = ""
    price_per: float = 1.0
    spot: Pair | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """How one venue lists.

    venue: its name in feeds/venues. terms: one of each coin, in their order. hour: of expiry, UTC.
    settle_window_s: averaging window before expiry. width, depth: half-spreads, and lots of
    options, against Deribit's. share: of the strikes of an expiry that are listed, those nearest
    the money. expiries: how many are listed, the nearest; None for all. lag_steps: steps of 100 ms
    by which the venue's makers see prices late, so that other venues lead it. lists: options,
    with perpetuals and indexes; or futures, with the same and one of each expiry and coin in place
    of options, whose name is the coin's root and the day, `BTCUSDT_261225`; or spot, a pair a coin,
    whose name and lot are those of the perpetual, and nothing else.
    """

    venue: str
    terms: tuple[Terms, ...]
    hour: int = 8
    settle_window_s: float = 1800.0
    width: float = 1.0
    share: float = 1.0
    depth: float = 1.0
    expiries: int | None = None
    lag_steps: int = 0
    lists: Literal["options", "futures", "spot"] = "options"


DERIBIT: Final = Profile(
    "deribit",
    (
        Terms("BTC", "BTC", "btc_usd", "BTC-PERPETUAL", False, "BTC", "USD",
              10_000, 2, 50, 0.1, 10.0, spot=Pair("BTC_USDT", "USDT", 100, 0.0001)),
        Terms("ETH", "ETH", "eth_usd", "ETH-PERPETUAL", False, "ETH", "USD",
              10_000, 20, 50, 1.0, 1.0, spot=Pair("ETH_USDC", "USDC", 100, 0.001)),
        Terms("SOL_USDC", "USDC", "sol_usdc", "SOL_USDC-PERPETUAL", True, "USDC", "USDC",
              100, 100, 0, 1.0, 0.1, spot=Pair("SOL_USDC", "USDC", 100, 0.01)),
    ),
)  # fmt: skip
OKX: Final = Profile(
    "okx",
    (
        Terms("BTC-USD", "BTC-USD", "BTC-USD/INDEX", "BTC-USD-SWAP", False, "BTC", "USD",
              10_000, 10, 50, 1.0, 1.0, 0.01, 100.0, spot=Pair("BTC-USDT", "USDT", 10, 0.0001)),
        Terms("ETH-USD", "ETH-USD", "ETH-USD/INDEX", "ETH-USD-SWAP", False, "ETH", "USD",
              10_000, 100, 50, 1.0, 1.0, 0.1, 10.0, spot=Pair("ETH-USDC", "USDC", 100, 0.001)),
        Terms("SOL-USD", "SOL-USD", "SOL-USD/INDEX", "SOL-USD-SWAP", False, "SOL", "USD",
              10_000, 100, 50, 1.0, 1.0, 1.0, 10.0, spot=Pair("SOL-USD", "USD", 100, 0.01)),
    ),
    width=1.2, share=0.7, depth=5.0, expiries=9, lag_steps=1,
)  # fmt: skip
BYBIT: Final = Profile(
    "bybit",
    (
        Terms("BTC", "BTC", "BTCUSDT/INDEX", "BTCUSDT", True, "USDT", "USDT",
              1, 10, 0, 0.01, 0.001, suffix="-USDT",
              spot=Pair("BTCUSDT/SPOT", "USDT", 10, 0.000001)),
        Terms("ETH", "ETH", "ETHUSDT/INDEX", "ETHUSDT", True, "USDT", "USDT",
              10, 100, 0, 0.1, 0.01, suffix="-USDT",
              spot=Pair("ETHUSDT/SPOT", "USDT", 100, 0.00001)),
        Terms("SOL", "SOL", "SOLUSDT/INDEX", "SOLUSDT", True, "USDT", "USDT",
              100, 100, 0, 1.0, 0.1, suffix="-USDT",
              spot=Pair("SOLUSDC/SPOT", "USDC", 100, 0.001)),
    ),
    width=1.15, share=0.8, depth=5.0, lag_steps=1,
)  # fmt: skip
BINANCE: Final = Profile(
    "binance",
    (
        Terms("BTC", "BTCUSDT", "BTCUSDT/INDEX", "BTCUSDT", True, "USDT", "USDT",
              1, 10, 0, 0.01, 0.001),
        Terms("ETH", "ETHUSDT", "ETHUSDT/INDEX", "ETHUSDT", True, "USDT", "USDT",
              10, 100, 0, 0.01, 0.001),
        Terms("SOL", "SOLUSDT", "SOLUSDT/INDEX", "SOLUSDT", True, "USDT", "USDT",
              100, 100, 0, 0.1, 0.1),
    ),
    width=1.3, share=0.6, depth=10.0, expiries=9, lag_steps=2,
)  # fmt: skip
# Where the same venue's perpetuals stand, and its delivery futures. Prices are found here first.
BINANCE_FUTURES: Final = Profile(
    "binance_futures",
    (
        Terms("BTCUSDT", "BTCUSDT", "BTCUSDT/INDEX", "BTCUSDT", True, "USDT", "USDT",
              1, 10, 0, 0.001, 0.001),
        Terms("ETHUSDT", "ETHUSDT", "ETHUSDT/INDEX", "ETHUSDT", True, "USDT", "USDT",
              10, 100, 0, 0.001, 0.001),
        Terms("SOLUSDT", "SOLUSDT", "SOLUSDT/INDEX", "SOLUSDT", True, "USDT", "USDT",
              100, 100, 0, 0.1, 0.1),
    ),
    expiries=2, lists="futures",
)  # fmt: skip
BINANCE_SPOT: Final = Profile(
    "binance_spot",
    (
        Terms("BTCUSDT", "BTCUSDT", "", "BTCUSDT", True, "USDT", "USDT",
              1, 100, 0, 0.00001, 0.00001),
        Terms("ETHUSDT", "ETHUSDT", "", "ETHUSDT", True, "USDT", "USDT",
              10, 100, 0, 0.0001, 0.0001),
        Terms("SOLUSDT", "SOLUSDT", "", "SOLUSDT", True, "USDT", "USDT",
              100, 100, 0, 0.001, 0.001),
    ),
    lists="spot",
)  # fmt: skip
DERIVE: Final = Profile(
    "derive",
    (
        Terms("BTC", "BTC", "BTC-USD", "BTC-PERP", True, "USDC", "USDC", 1, 10, 0, 0.01, 0.01),
        Terms("ETH", "ETH", "ETH-USD", "ETH-PERP", True, "USDC", "USDC", 10, 100, 0, 0.1, 0.1),
        Terms("SOL", "SOL", "SOL-USD", "SOL-PERP", True, "USDC", "USDC", 100, 100, 0, 1.0, 0.1),
    ),
    width=1.5, share=0.5, depth=5.0, expiries=8, lag_steps=3,
)  # fmt: skip
DELTA: Final = Profile(
    "delta",
    (
        Terms("BTC", "BTC", ".DEXBTUSD", "BTCUSD", True, "USD", "USD",
              10, 2, 0, 1.0, 1.0, 0.001, 0.001),
        Terms("ETH", "ETH", ".DEETHUSD", "ETHUSD", True, "USD", "USD",
              10, 20, 0, 1.0, 1.0, 0.01, 0.01),
        Terms("SOL", "SOL", ".DESOLUSD", "SOLUSD", True, "USD", "USD",
              100, 100, 0, 1.0, 1.0, 1.0, 1.0),
    ),
    hour=12, width=1.4, share=0.5, depth=50.0, expiries=7, lag_steps=4,
)  # fmt: skip
# The same products on a platform with books of its own.
DELTA_INDIA: Final = replace(
    DELTA, venue="delta_india", width=1.5, share=0.4, depth=30.0, expiries=6, lag_steps=5
)
BULLISH: Final = Profile(
    "bullish",
    (
        Terms("BTC-USDC", "BTC", "BTC", "BTC-USDC-PERP", True, "USDC", "USDC",
              1, 10, 0, 0.1, 0.001),
        Terms("ETH-USDC", "ETH", "ETH", "ETH-USDC-PERP", True, "USDC", "USDC",
              10, 100, 0, 1.0, 0.01),
        Terms("SOL-USDC", "SOL", "SOL", "SOL-USDC-PERP", True, "USDC", "USDC",
              100, 100, 0, 1.0, 0.1),
    ),
    width=1.3, share=0.4, expiries=8, lag_steps=2,
)  # fmt: skip
AEVO: Final = Profile(
    "aevo",
    (
        Terms("BTC", "BTC", "BTC/INDEX", "BTC-PERP", True, "USDC", "USDC", 1, 10, 0, 0.01, 0.001),
        Terms("ETH", "ETH", "ETH/INDEX", "ETH-PERP", True, "USDC", "USDC", 10, 100, 0, 0.1, 0.01),
        Terms("SOL", "SOL", "SOL/INDEX", "SOL-PERP", True, "USDC", "USDC", 100, 100, 0, 1.0, 0.1),
    ),
    width=1.6, share=0.3, depth=5.0, expiries=6, lag_steps=3,
)  # fmt: skip
THALEX: Final = Profile(
    "thalex",
    (
        Terms("BTC", "BTC", "BTCUSD", "BTC-PERPETUAL", True, "USD", "USD", 1, 1, 0, 0.1, 0.001),
        Terms("ETH", "ETH", "ETHUSD", "ETH-PERPETUAL", True, "USD", "USD", 10, 10, 0, 1.0, 0.01),
        Terms("SOL", "SOL", "SOLUSD", "SOL-PERPETUAL", True, "USD", "USD", 100, 100, 0, 1.0, 0.1),
    ),
    width=1.4, share=0.4, depth=2.0, expiries=7, lag_steps=2,
)  # fmt: skip
# No perpetual: the venue's stand under another host.
GATE: Final = Profile(
    "gate",
    (
        Terms("BTC_USDT", "BTC_USDT", "BTC_USDT/INDEX", "BTC_USDT", True, "USDT", "USDT",
              1, 10, 0, 1.0, 1.0, 0.01, 0.0001),
        Terms("ETH_USDT", "ETH_USDT", "ETH_USDT/INDEX", "ETH_USDT", True, "USDT", "USDT",
              10, 100, 0, 1.0, 1.0, 0.01, 0.01),
        Terms("SOL_USDT", "SOL_USDT", "SOL_USDT/INDEX", "SOL_USDT", True, "USDT", "USDT",
              100, 100, 0, 1.0, 1.0, 1.0, 1.0),
    ),
    width=1.4, share=0.5, depth=10.0, expiries=7, lag_steps=3,
)  # fmt: skip
# No perpetual either: the venue's stand on a socket of their own.
COINCALL: Final = Profile(
    "coincall",
    (
        Terms("BTCUSD", "BTC", "BTCUSD/INDEX", "BTCUSD", True, "USD", "USD",
              10, 10, 0, 0.01, 0.001),
        Terms("ETHUSD", "ETH", "ETHUSD/INDEX", "ETHUSD", True, "USD", "USD",
              100, 100, 0, 0.1, 0.01),
        Terms("SOLUSD", "SOL", "SOLUSD/INDEX", "SOLUSD", True, "USD", "USD",
              100, 100, 0, 1.0, 0.1),
    ),
    width=1.5, share=0.5, depth=5.0, expiries=7, lag_steps=4,
)  # fmt: skip

PROFILES: Final[Mapping[str, Profile]] = {
    profile.venue: profile
    for profile in (
        DERIBIT,
        BINANCE,
        BINANCE_FUTURES,
        BINANCE_SPOT,
        OKX,
        BYBIT,
        DERIVE,
        DELTA,
        DELTA_INDIA,
        BULLISH,
        AEVO,
        THALEX,
        GATE,
        COINCALL,
    )
}
