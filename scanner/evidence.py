"""Stage 7 of 8: what a row stands for, and why it is unusual: drivers, direction, size, book.

Everything here reads one ScanResult and keeps nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from feeds.contract import Contract, Listing, ListingKind, format_e9
from kernels.columns import Validity
from scanner.alert import (
    DRIVERS_MAX,
    Driver,
    Identity,
    Liquidity,
    ScopeKind,
    iso_utc,
    six_digits,
)
from scanner.result import DRIVERS, FAMILY, FEATURES, ScanResult

Sign = Literal[-1, 0, 1]

PRESSURE_MIN: Final = 0.5  # Below half a standard deviation a sign is a coin toss.
_P_EXTREME: Final = 1e-8  # Below it tan(pi (1/2 - p)) is 1 / (pi p) to 1e-15, and loses digits.
_P_TINY: Final = 1e-300
_ONE_SIDED: Final = int(Validity.NO_BID | Validity.NO_ASK)
_BIT_NAMES: Final = tuple((int(bit), bit.name.lower()) for bit in Validity if bit.name is not None)

_RIGHTS: Final[dict[str, Literal["C", "P"]]] = {"C": "C", "P": "P"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a row stands for when it alerts."""

    kind: ScopeKind
    scope: str
    name: str  # venue:symbol; empty for a group
    is_option: bool
    identity: Identity  # without listings


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an alert says beside its score; the fields are those of scanner.alert.Alert."""

    direction: Sign
    direction_vol: Sign
    magnitude_usd_vega: float | None
    magnitude_usd_delta: float | None
    premium_usd: float | None
    liquidity: Liquidity | None
    drivers: tuple[Driver, ...]
    families: dict[str, float]
    validity: tuple[str, ...]


def listing_subject(listing: Listing) -> Subject:
    """Scope of a listing: its contract for an option, itself otherwise."""
    name = f"{listing.venue}:{listing.symbol}"
    contract = listing.contract if listing.kind is ListingKind.OPTION else None
    identity = Identity(
        underlying=listing.underlying,
        expiry=None if listing.expiry_ns is None else iso_utc(listing.expiry_ns),
        expiry_ns=listing.expiry_ns,
        strike=None if listing.strike_e9 is None else format_e9(listing.strike_e9),
        right=_RIGHTS.get(listing.right or ""),
        listings=(),
    )
    if contract is None:
        return Subject("listing", name, name, is_option=False, identity=identity)
    return Subject("contract", str(contract), name, is_option=True, identity=identity)


def group_subject(underlying: str, expiry_ns: int) -> Subject:
    """Scope of a group: UNDERLYING-YYYYMMDDTHHMMZ, or the underlying where expiry_ns is 0."""
    known = expiry_ns != 0
    identity = Identity(
        underlying=underlying,
        expiry=iso_utc(expiry_ns) if known else None,
        expiry_ns=expiry_ns if known else None,
        strike=None,
        right=None,
        listings=(),
    )
    if not known:
        return Subject("underlying", underlying, "", is_option=False, identity=identity)
    # A contract's canonical string begins with its expiry's: UNDERLYING-INSTANT-STRIKE-RIGHT.
    scope = str(Contract(underlying, expiry_ns, 0, "C")).rsplit("-", 2)[0]
    return Subject("expiry", scope, "", is_option=False, identity=identity)


def acat_shares(p: Sequence[float]) -> list[float]:
    """Share of each p in the positive part of sum tan(pi (1/2 - min(p, .99))).

    NaN is neutral: share 0. All zero where no p is below 1/2.

    >>> acat_shares([0.25, float("nan"), 0.25])
    [0.5, 0.0, 0.5]
    """
    parts = [max(0.0, _acat_term(value)) for value in p]
    return _normalised(parts)


def fisher_shares(p: Sequence[float]) -> list[float]:
    """Share of each p in -2 sum ln p; NaN: share 0. All zero where every p is 1 or NaN.

    >>> [round(share, 3) for share in fisher_shares([0.01, 0.1, 1.0])]
    [0.667, 0.333, 0.0]
    """
    parts = [0.0 if math.isnan(v) else max(0.0, -2.0 * math.log(max(v, _P_TINY))) for v in p]
    return _normalised(parts)


def family_shares(shares: Sequence[float]) -> dict[str, float]:
    """Sum the shares of DRIVERS by family, largest first; empty where all are zero."""
    sums: dict[str, float] = {}
    for k, share in enumerate(shares):
        if share > 0.0:
            family = _family(k)
            sums[family] = sums.get(family, 0.0) + share
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def listing_shares(result: ScanResult, row: int, list_name: str) -> list[float]:
    """Shares of DRIVERS in one listing's score of one list."""
    shares = fisher_shares if list_name == "broad" else acat_shares
    return shares(result.p_feature[:, row].tolist())


def listing_evidence(
    result: ScanResult, list_name: str, lead: int, rows: Sequence[int], *, is_option: bool
) -> Evidence:
    """Explain a listing or contract alert.

    Args:
        result: the scan.
        list_name: spike or broad.
        lead: the strongest row; drivers, direction and liquidity are its own.
        rows: all open rows of the scope; their flows are added, their validity bits united.
        is_option: whether a direction of volatility exists.
    """
    shares = listing_shares(result, lead, list_name)
    pressure = _sign(metric(result, "pressure", lead), PRESSURE_MIN)
    delta = _sign(metric(result, "delta", lead), 0.0)
    return Evidence(
        direction=_product(pressure, delta),
        direction_vol=pressure if is_option else 0,
        magnitude_usd_vega=_total(result, "ofi_30s_usd_vega", rows),
        magnitude_usd_delta=_total(result, "ofi_30s_usd_delta", rows),
        premium_usd=_total(result, "ofi_30s_usd_premium", rows),
        liquidity=_liquidity(result, lead),
        drivers=_listing_drivers(result, lead, shares),
        families=_rounded(family_shares(shares)),
        validity=validity_names(result, rows),
    )


def group_evidence(result: ScanResult, group: int) -> Evidence:
    """Explain a group alert by its named members: mean ACAT shares, mean z, summed flows."""
    members = group_members(result, group)
    shares = _mean_shares([listing_shares(result, row, "spike") for row in members])
    return Evidence(
        direction=_sign(float(result.groups.direction[group]), PRESSURE_MIN),
        direction_vol=0,
        magnitude_usd_vega=_total(result, "ofi_30s_usd_vega", members),
        magnitude_usd_delta=_total(result, "ofi_30s_usd_delta", members),
        premium_usd=_total(result, "ofi_30s_usd_premium", members),
        liquidity=None,
        drivers=_group_drivers(result, members, shares),
        families=_rounded(family_shares(shares)),
        validity=validity_names(result, members),
    )


def group_members(result: ScanResult, group: int) -> list[int]:
    """Listing ids of a group's named members, strongest first."""
    return [row for row in result.groups.members[group].tolist() if row >= 0]


def validity_names(result: ScanResult, rows: Sequence[int]) -> tuple[str, ...]:
    """Names of the bits set on any of the rows, in the order of the bits."""
    bits = 0
    for row in rows:
        if row < len(result.validity):
            bits |= int(result.validity[row])
    return tuple(name for bit, name in _BIT_NAMES if bits & bit)


def metric(result: ScanResult, name: str, row: int) -> float:
    """One metric of one row; NaN where the column is not exported."""
    column = result.metrics.get(name)
    return math.nan if column is None else float(column[row])


def _acat_term(p: float) -> float:
    if math.isnan(p):
        return 0.0
    if p < _P_EXTREME:
        return 1.0 / (math.pi * max(p, _P_TINY))
    return math.tan(math.pi * (0.5 - min(p, 0.99)))


def _normalised(parts: list[float]) -> list[float]:
    total = math.fsum(parts)
    return [part / total for part in parts] if total > 0.0 else [0.0] * len(parts)


def _mean_shares(shares: list[list[float]]) -> list[float]:
    """Mean over members, scaled to sum to 1 (a member without any share says nothing)."""
    if not shares:
        return [0.0] * len(DRIVERS)
    return _normalised([math.fsum(column) for column in zip(*shares, strict=True)])


def _listing_drivers(result: ScanResult, row: int, shares: Sequence[float]) -> tuple[Driver, ...]:
    return tuple(
        _driver(
            k,
            shares[k],
            value=float(result.value[k % len(FEATURES), row]),
            baseline=float(result.baseline[k % len(FEATURES), row]),
            z=float(result.z[k, row]),
            p=float(result.p_feature[k, row]),
        )
        for k in _largest(shares)
    )


def _group_drivers(
    result: ScanResult, members: Sequence[int], shares: Sequence[float]
) -> tuple[Driver, ...]:
    def mean_z(k: int) -> float:
        known = [z for z in result.z[k, list(members)].tolist() if not math.isnan(z)]
        return math.fsum(known) / len(known) if known else math.nan

    nan = math.nan
    return tuple(
        _driver(k, shares[k], value=nan, baseline=nan, z=mean_z(k), p=nan) for k in _largest(shares)
    )


def _driver(k: int, share: float, *, value: float, baseline: float, z: float, p: float) -> Driver:
    feature, scale = DRIVERS[k]
    return Driver(
        feature=feature,
        scale=scale,
        family=_family(k),
        value=six_digits(value),
        baseline=six_digits(baseline),
        z=six_digits(z),
        p=six_digits(p),
        share=six_digits(share) or 0.0,
    )


def _family(k: int) -> str:
    return FAMILY[k % len(FEATURES)]


def _largest(shares: Sequence[float]) -> list[int]:
    """Indices of the largest positive shares; ties in the order of DRIVERS."""
    order = sorted(range(len(shares)), key=lambda k: (-shares[k], k))
    return [k for k in order if shares[k] > 0.0][:DRIVERS_MAX]


def _rounded(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: six_digits(share) or 0.0 for name, share in shares.items()}


def _total(result: ScanResult, name: str, rows: Sequence[int]) -> float | None:
    """Sum over the rows that know the number; None where none does."""
    known = [v for v in (metric(result, name, row) for row in rows) if not math.isnan(v)]
    return six_digits(math.fsum(known)) if known else None


def _liquidity(result: ScanResult, row: int) -> Liquidity:
    quarter = metric(result, "liquidity_class", row)
    return Liquidity(
        mid=six_digits(metric(result, "mid", row)),
        spread_rel=six_digits(metric(result, "spread_rel", row)),
        spread_vol=six_digits(metric(result, "spread_vol", row)),
        depth_underlying=six_digits(metric(result, "depth_underlying", row)),
        depth_usd_vega=six_digits(metric(result, "depth_usd_vega", row)),
        quote_age_s=six_digits(metric(result, "quote_age_s", row)),
        one_sided=(int(result.validity[row]) & _ONE_SIDED) != 0,
        liquidity_class=None if math.isnan(quarter) else int(quarter),
    )


def _sign(number: float, magnitude_min: float) -> Sign:
    """Sign of a number; 0 where it is NaN, zero, or smaller in size than the minimum."""
    if math.isnan(number) or number == 0.0 or abs(number) < magnitude_min:
        return 0
    return 1 if number > 0.0 else -1


def _product(left: Sign, right: Sign) -> Sign:
    if left == 0 or right == 0:
        return 0
    return 1 if left == right else -1
