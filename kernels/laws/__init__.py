"""Stage 5 of 8: formulas, each once, scalar, for every device; and the one list of metrics.

METRICS has the order of the exported columns, SCORED that of the scored features. The launch
shape kernels/cpu/features.py computes them; docs/METRICS.md is generated from here.
"""

from typing import Final

from kernels.laws.metric import Metric, Parity

_FIRST: Final = "0.1.0"
_ANY: Final = "any"
_SHARE: Final = "-1 to 1"
_POSITIVE: Final = "> 0"
_NOT_NEGATIVE: Final = "0 or more"
_HALF_LIVES_S: Final = (1, 5, 30, 300)

_TOP: Final = ("bid_size", "ask_size")
_PRICES: Final = ("bid", "ask")
_DEPTH: Final = ("slot", "books", *_TOP)
_MEAN: Final = ("regular_weight", "update_ns")  # What every time-weighted mean is read with.
_USD: Final = ("is_inverse", "is_option", "index")
_UNITS: Final = ("multiplier", "is_inverse", "is_option", "bid", "ask", "tick")
_OFI: Final = ("ofi_buy", "ofi_sell", "ofi_ns")
_IV_OFI: Final = ("iv_ofi_buy", "iv_ofi_sell", "ofi_ns")
_IV: Final = (*_PRICES, "tick", "vega", "price_per", "is_inverse", "is_option", "forward_e6")
_STEP: Final = ("step", "coarse_from")
_OFI_MEAN: Final = (*_OFI, "depth_sum", *_MEAN, *_TOP)
_TRADED: Final = ("trade_buy", "trade_sell")
_DEPTH_MEAN: Final = (*_DEPTH, *_PRICES, "spread_sum", *_MEAN)


def _metric(
    name: str, unit: str, limits: str, parity: Parity, reads: tuple[str, ...], meaning: str
) -> Metric:
    return Metric(name, reads, unit, limits, parity, _FIRST, meaning)


def _held(name: str, unit: str, limits: str, meaning: str, column: str = "") -> Metric:
    """Metric that repeats what was last received."""
    return _metric(name, unit, limits, "unsigned", (column or name,), meaning)


def _per_half_life(
    name: str, unit: str, limits: str, reads: tuple[str, ...], meaning: str,
    parity: Parity = "delta-odd",
) -> tuple[Metric, ...]:  # fmt: skip
    return tuple(
        _metric(f"{name}_{h}s", unit, limits, parity, reads, f"{meaning}, half-life {h} s")
        for h in _HALF_LIVES_S
    )


METRICS: Final = (
    _metric("obi", "1", _SHARE, "delta-odd", _TOP, "signed share of the touch on the bid"),
    _metric("microprice_offset", "price", _ANY, "delta-odd", (*_PRICES, *_TOP, "tick"),
            "microprice minus mid"),
    _metric("depth_obi", "1", _SHARE, "delta-odd", _DEPTH_MEAN,
            "the same over the used book, levels weighted by their distance in mean spreads"),
    _metric("spread_rel", "1", _POSITIVE, "unsigned", (*_PRICES, "tick"), "spread over mid"),
    _metric("spread_vol", "vol points", _POSITIVE, "unsigned", _IV, "spread over vega"),
    _metric("vol_per_tick", "vol points", _POSITIVE, "unsigned", (*_IV, *_STEP),
            "smallest move of the price over vega"),
    _metric("depth_underlying", "underlying", _POSITIVE, "unsigned", (*_DEPTH, *_UNITS),
            "all sizes of the used book, both sides"),
    _metric("depth_usd_vega", "USD per vol point", _NOT_NEGATIVE, "unsigned",
            (*_IV, *_DEPTH, "multiplier"), "vega of the sizes within 2 vol points of the mid"),
    _metric("depth_usd_delta", "USD", _NOT_NEGATIVE, "unsigned",
            (*_IV, *_DEPTH, "multiplier", "delta"),
            "delta x forward of the sizes within 2 vol points of the mid"),
    _metric("liquidity_class", "1", "1 to 4", "unsigned", ("liquidity",),
            "quarter of all listings by updates x depth in USD; 4 the most active"),
    _metric("quote_age_s", "s", "0 to 36000", "unsigned", ("change_ns",),
            "time since a price or size of the used book changed"),
    _metric("update_rate", "1/s", _NOT_NEGATIVE, "unsigned", ("updates", "count_ns"),
            "accepted book or quote updates, half-life 300 s"),
    _metric("trade_rate", "1/s", _NOT_NEGATIVE, "unsigned", ("trades", "count_ns"),
            "prints, half-life 300 s"),
    *_per_half_life("ofi", "mean depths", _ANY, _OFI_MEAN,
                    "order-flow imbalance of the touch over its mean depth"),
    *_per_half_life("iv_ofi", "mean depths", _ANY,
                    (*_IV, *_STEP, *_IV_OFI, "depth_sum", *_MEAN, *_TOP, "delta", "theta",
                     "settle_window_ns"),
                    "order-flow imbalance beyond what the forward and time explain, over mean "
                    "depth", parity="vega-even"),
    *_per_half_life("tfi", "1", _SHARE, _TRADED, "bought minus sold over traded size"),
    *_per_half_life("flow", "underlying", _ANY, (*_TRADED, "trade_ns", *_UNITS),
                    "bought minus sold size"),
    _metric("trades", "1", _NOT_NEGATIVE, "unsigned", ("trades", "count_ns"),
            "decayed count of prints, half-life 300 s"),
    _metric("contracts", "underlying", _NOT_NEGATIVE, "unsigned",
            ("contracts", "count_ns", *_UNITS), "decayed traded size, half-life 300 s"),
    _metric("premium_usd", "USD", _NOT_NEGATIVE, "unsigned", ("premium", "count_ns", *_USD),
            "decayed traded premium, half-life 300 s"),
    _metric("updates", "1", _NOT_NEGATIVE, "unsigned", ("updates", "count_ns"),
            "decayed count of accepted book or quote updates, half-life 300 s"),
    _metric("reductions", "1", _NOT_NEGATIVE, "unsigned", ("reductions", "count_ns"),
            "decayed count of updates that withdrew liquidity, half-life 300 s"),
    _metric("block_premium_usd", "USD", _NOT_NEGATIVE, "unsigned",
            ("block_premium", "count_ns", *_USD),
            "decayed premium of block, RFQ and combo prints, half-life 300 s"),
    _held("delta", "1", _SHARE, "Black-Scholes delta, not premium-adjusted"),
    _held("vega", "USD per vol point", _NOT_NEGATIVE, "vega"),
    _held("iv_mark", "fraction", _NOT_NEGATIVE, "the venue's mark volatility"),
    _held("forward", "USD", _POSITIVE, "the venue's forward of the expiry", "forward_e6"),
    _held("index", "USD", _POSITIVE, "the venue's index"),
    _held("open_interest", "native", _NOT_NEGATIVE, "open interest"),
    _metric("ofi_30s_usd_vega", "USD per vol point", _ANY, "vega-even",
            (*_OFI, *_UNITS, "vega"), "order-flow imbalance, half-life 30 s, times vega"),
    _metric("ofi_30s_usd_delta", "USD", _ANY, "vega-even",
            (*_OFI, *_UNITS, "delta", "forward_e6"),
            "order-flow imbalance, half-life 30 s, times delta x forward: the sign is the "
            "underlying's already"),
    _metric("ofi_30s_usd_premium", "USD", _ANY, "delta-odd",
            (*_OFI, *_UNITS, "price_per", "index"),
            "order-flow imbalance, half-life 30 s, times mid"),
    _metric("pressure", "z", _ANY, "delta-odd", ("pressure",),
            "mean 60 s z of obi, depth_obi and ofi_30s at the last observation"),
    _metric("mid", "price", _ANY, "unsigned", (*_PRICES, "tick"), "mean of bid and ask"),
)  # fmt: skip

SCORED: Final = (
    _metric("obi", "1", "-2.3 to 2.3", "delta-odd", _TOP, "atanh(0.98 obi)"),
    _metric("depth_obi", "1", "-2.3 to 2.3", "delta-odd", _DEPTH_MEAN, "atanh(0.98 depth_obi)"),
    _metric("log_spread", "log2 ticks", _NOT_NEGATIVE, "unsigned", _PRICES, "log2 of the spread"),
    _metric("log_depth", "log2 native", _ANY, "unsigned", _DEPTH,
            "log2 of all sizes of the used book"),
    _metric("anchored_mid", "mean spreads", _ANY, "vega-even",
            (*_PRICES, "mid2_observed", "forward_e6", "forward_before_e6", "delta", "tick",
             "price_per", "spread_sum", *_MEAN, "is_option", "is_inverse", "observed_ns",
             "settle_window_ns"),
            "move of the mid since the last observation that delta x forward does not explain"),
    _metric("ofi_30s", "1", _ANY, "delta-odd", _OFI_MEAN, "asinh(ofi_30s)"),
)  # fmt: skip
