"""Stage 7 of 8: the Alert, its published JSON Schema, and its reading aloud.

An alert says that an anomaly is a state with a beginning and an end, not a print: it opens, may
be updated, and closes. docs/alert.schema.json is generated from the structs below.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta

SCHEMA_VERSION: Final = 1
RULES: Final = "scoring-1"  # Version of the scoring rules; part of every id.
SHARE_TOLD: Final = 0.01  # Of a score: words about less would be noise.
DRIVERS_MAX: Final = 6  # Twelve exist; beyond six a share is noise to a reader.
SECOND_NS: Final = 1_000_000_000

AlertList = Literal["spike", "broad", "group", "systemic", "structure"]
ScopeKind = Literal["listing", "contract", "strike", "expiry", "underlying", "venue", "market"]
State = Literal["open", "update", "close"]
Calibration = Literal["warming", "ok"]
Reason = Literal["quiet", "invalid", "unobserved", "displaced", "delisted"]


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """One feature at one time scale and its part in the score."""

    feature: Annotated[str, Meta(description="name of the feature, docs/METRICS.md")]
    scale: Annotated[str, Meta(description="instant or 60s")]
    family: Annotated[str, Meta(description="imbalance, liquidity or price")]
    value: Annotated[
        float | None, Meta(description="stabilised value observed; null for a group's drivers")
    ]
    baseline: Annotated[
        float | None, Meta(description="mean it was compared with; null for a group's drivers")
    ]
    z: Annotated[
        float | None, Meta(description="signed standardised value; a group: mean of its members")
    ]
    p: Annotated[float | None, Meta(description="p of |z| alone; null for a group's drivers")]
    share: Annotated[float, Meta(description="part of the list's statistic, 0 to 1")]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the alert is about."""

    underlying: str
    expiry: Annotated[str | None, Meta(description="expiry instant, ISO 8601, UTC")]
    expiry_ns: Annotated[int | None, Meta(description="the same, ns since the Unix epoch")]
    strike: Annotated[str | None, Meta(description="decimal string, exact")]
    right: Annotated[Literal["C", "P"] | None, Meta(description="C call, P put")]
    listings: Annotated[
        tuple[str, ...],
        Meta(
            description="venue:symbol of every listing that took part, sorted; of a group: "
            "its strongest members, strongest first"
        ),
    ]


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What the anomaly is expected to do to the price, and how well that is known."""

    skill: Annotated[float | None, Meta(description="out-of-sample skill; null: not measured")]
    text: str


class Liquidity(msgspec.Struct, frozen=True, kw_only=True):
    """The book behind the alert, of the strongest listing; null where unknown."""

    mid: Annotated[float | None, Meta(description="native quotation")]
    spread_rel: Annotated[float | None, Meta(description="(ask - bid) / mid")]
    spread_vol: Annotated[
        float | None, Meta(description="spread over vega, vol points; options")
    ] = None
    depth_underlying: Annotated[float | None, Meta(description="underlying units, both sides")]
    depth_usd_vega: Annotated[
        float | None,
        Meta(description="USD per vol point, both sides, within 2 vol points of the mid; options"),
    ] = None
    quote_age_s: Annotated[float | None, Meta(description="age of the quote, seconds")]
    one_sided: Annotated[bool, Meta(description="no bid or no ask")]
    liquidity_class: Annotated[
        Annotated[int, Meta(ge=1, le=4)] | None,
        Meta(description="quarter of all listings by updates x depth; 4 the most active"),
    ] = None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One message about one episode. Floats carry 6 significant digits; unknown is null."""

    schema_version: int = SCHEMA_VERSION
    id: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{32}$",
            description="first 128 bits of BLAKE2b over UTF-8 scope|list|start_ns|rules; the same "
            "in every run over the same log",
        ),
    ]
    seq: Annotated[int, Meta(ge=1, description="counts the messages of an id from 1")]
    key: Annotated[str, Meta(description="delivery key id.seq; a duplicate has an equal key")]
    state: State
    reason: Annotated[
        Reason | None, Meta(description="why it closed; null unless state is close")
    ] = None
    ts_ns: Annotated[int, Meta(description="grid time of the scan, ns since the Unix epoch, UTC")]
    start_ns: Annotated[int, Meta(description="grid time of the opening scan")]
    scope_kind: ScopeKind
    scope: Annotated[str, Meta(description="canonical string of what is unusual")]
    list: Annotated[
        AlertList, Meta(description="spike: few strong drivers; broad: many; group: a whole slice")
    ]
    identity: Identity
    score: Annotated[float | None, Meta(description="-log10 p; null where the row has no score")]
    p: Annotated[
        float | None,
        Meta(
            description="headline p of this list, min(1, 2 p_list) for spike and broad; the "
            "smallest over the listings"
        ),
    ]
    rank: Annotated[int | None, Meta(description="place in its list, from 1; null below the top")]
    peak_score: Annotated[float, Meta(description="highest score of the episode so far")]
    direction: Annotated[
        Literal[-1, 0, 1], Meta(description="+1 pressure to higher underlying, -1 lower, 0 unclear")
    ]
    direction_vol: Annotated[
        Literal[-1, 0, 1], Meta(description="+1 pressure to higher volatility, -1 lower, 0 unclear")
    ]
    magnitude_usd_vega: Annotated[
        float | None, Meta(description="30 s order flow, USD per volatility point, all listings")
    ]
    magnitude_usd_delta: Annotated[
        float | None, Meta(description="30 s order flow, USD delta, all listings")
    ]
    premium_usd: Annotated[
        float | None, Meta(description="30 s order flow, USD premium, all listings")
    ]
    duration_s: Annotated[float, Meta(description="ts_ns - start_ns in seconds")]
    persistence: Annotated[
        float, Meta(description="fraction of the episode's observations with p <= p_off")
    ]
    impact: Impact
    liquidity: Liquidity | None
    drivers: Annotated[
        tuple[Driver, ...],
        Meta(max_length=DRIVERS_MAX, description="of the strongest listing, largest share first"),
    ]
    families: Annotated[
        dict[str, float], Meta(description="share by family; sums to 1 unless it is empty")
    ]
    validity: Annotated[tuple[str, ...], Meta(description="validity bits set, lower case")]
    calibration: Annotated[
        Calibration,
        Meta(description="warming: the row or its reference is too young for p to be trusted"),
    ]
    rules: str = RULES
    config: Annotated[str, Meta(description="hash of the configuration")]


NO_SKILL: Final = Impact(skill=None, text="no skill measured")


@dataclass(slots=True)
class SinkCounts:
    """What a sink did and lost; every number is in alerts unless it says otherwise."""

    delivered: int = 0
    dropped: int = 0  # lost for good: the queue was full, or the sink closed while failing
    queued: int = 0  # waiting now
    failures: int = 0  # attempts that failed
    reopened: int = 0  # times the target was opened again, rotations included
    last_error: str = ""


class Sink(Protocol):
    """Stage 8: where alerts go. A sink never raises for a failing world: it counts."""

    counts: SinkCounts

    async def deliver(self, alerts: Sequence[Alert]) -> None:
        """Take alerts over; returns without waiting for a slow target."""
        ...

    async def close(self) -> None:
        """Deliver what is queued, with a bounded number of attempts, and release everything."""
        ...


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Alert)


def encode(alert: Alert) -> bytes:
    """One line of JSON without the newline; equal alerts give equal bytes."""
    return _ENCODER.encode(alert)


def decode(line: bytes | str) -> Alert:
    """Read an alert back.

    Raises:
        msgspec.ValidationError: a field is missing or has a wrong type.
        msgspec.DecodeError: not JSON.
    """
    return _DECODER.decode(line)


def alert_id(scope: str, list_name: str, start_ns: int, rules: str = RULES) -> str:
    """Identity of an episode: the same for every run over the same log."""
    text = f"{scope}|{list_name}|{start_ns}|{rules}"
    # The first 128 bits of the 512-bit digest; digest_size=16 would be another hash.
    return hashlib.blake2b(text.encode()).hexdigest()[:32]


def six_digits(number: float) -> float | None:
    """Round to 6 significant digits so that bytes do not depend on the last bits of a sum.

    NaN and infinities are unknown: None. Minus zero becomes zero.

    >>> six_digits(0.123456789), six_digits(float("nan")), six_digits(-0.0)
    (0.123457, None, 0.0)
    """
    if not math.isfinite(number):
        return None
    return float(f"{number:.6g}") + 0.0


def iso_utc(instant_ns: int) -> str:
    """ISO 8601 in UTC, to the nanosecond where it has one.

    >>> iso_utc(1774598400_000000000), iso_utc(1774598400_250000000)
    ('2026-03-27T08:00:00Z', '2026-03-27T08:00:00.25Z')
    """
    seconds, rest = divmod(instant_ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def alert_schema() -> bytes:
    """JSON Schema (2020-12) of Alert, ending in a newline: docs/alert.schema.json."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:cross-market-scanner:alert:{SCHEMA_VERSION}",
        **msgspec.json.schema(Alert),
    }
    return (json.dumps(schema, indent=2) + "\n").encode()


def explain(alert: Alert) -> str:
    """Say in words what happened and why the scanner thinks so; ends without a newline."""
    vega, delta = _usd(alert.magnitude_usd_vega), _usd(alert.magnitude_usd_delta)
    underlying, vol = _arrow_words(alert.direction), _arrow_words(alert.direction_vol)
    lasting = f"{alert.duration_s:g} s, unusual in {_percent(alert.persistence)} of observations"
    lines = [
        f"{alert.scope}: {alert.list} alert, {_state_words(alert)}",
        f"  when       {iso_utc(alert.start_ns)}, lasting {lasting}",
        f"  how rare   {_rarity(alert)}",
        f"  direction  underlying {underlying}, volatility {vol}",
        f"  size       {vega} vega, {delta} delta, {_usd(alert.premium_usd)} premium (30 s flow)",
        f"  impact     {alert.impact.text}",
        f"  where      {', '.join(alert.identity.listings) or 'unknown'}",
    ]
    if alert.liquidity is not None:
        lines.append(f"  book       {_book_words(alert.liquidity)}")
    if alert.families:
        ordered = sorted(alert.families.items(), key=lambda item: (-item[1], item[0]))
        lines.append("  because    " + ", ".join(f"{n} {_percent(s)}" for n, s in ordered))
    told = [driver for driver in alert.drivers if driver.share >= SHARE_TOLD]
    lines.extend(f"    {_driver_words(driver)}" for driver in told or alert.drivers[:1])
    if alert.validity:
        lines.append(f"  read with care: {', '.join(alert.validity)}")
    lines.append(f"  id {alert.key}, rules {alert.rules}, config {alert.config or 'unnamed'}")
    return "\n".join(lines)


def _state_words(alert: Alert) -> str:
    if alert.state != "close":
        return "open" if alert.state == "open" else f"open, message {alert.seq}"
    reasons: dict[str | None, str] = {
        "quiet": "it calmed down",
        "invalid": "its book became invalid",
        "unobserved": "nothing was heard of it any more",
        "displaced": "stronger ones took its place",
        "delisted": "the listing ended",
    }
    return f"closed: {reasons.get(alert.reason, 'no reason given')}"


def _rarity(alert: Alert) -> str:
    rank = f", rank {alert.rank}" if alert.rank is not None else ""
    warming = "" if alert.calibration == "ok" else " (warming: not yet calibrated)"
    if alert.score is None or alert.p is None:
        return f"no score now; peak score {alert.peak_score:.2f}{rank}{warming}"
    odds = f"about 1 in {1 / alert.p:,.0f}" if alert.p > 0 else "beyond the reference"
    peak = f", peak {alert.peak_score:.2f}"
    return f"score {alert.score:.2f}{peak}{rank}; p = {alert.p:.3g}, {odds}{warming}"


def _arrow_words(direction: int) -> str:
    return {1: "up", -1: "down"}.get(direction, "unclear")


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:+,.0f} USD"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _book_words(book: Liquidity) -> str:
    spread = "unknown" if book.spread_rel is None else f"{100 * book.spread_rel:.3g} % of mid"
    if book.spread_vol is not None:
        spread += f" or {book.spread_vol:.3g} vol points"
    depth = "unknown" if book.depth_underlying is None else f"{book.depth_underlying:g} underlying"
    if book.depth_usd_vega is not None:
        depth += f" ({book.depth_usd_vega:,.0f} USD vega within 2 vol points)"
    age = "unknown" if book.quote_age_s is None else f"{book.quote_age_s:.3g} s"
    sides = ", one-sided" if book.one_sided else ""
    rank = book.liquidity_class
    quarter = "" if rank is None else f", liquidity class {rank} of 4"
    return f"spread {spread}, depth {depth}, quote age {age}{sides}{quarter}"


def _driver_words(driver: Driver) -> str:
    def number(value: float | None, style: str) -> str:
        return "-" if value is None else format(value, style)

    head = f"{_percent(driver.share):>5}  {driver.feature} {driver.scale} ({driver.family}): "
    head += f"z {number(driver.z, '+.1f')}"
    if driver.value is None and driver.p is None:
        return f"{head}, the members' mean"  # Of a group: only z can be averaged.
    return (
        f"{head}, value {number(driver.value, '.4g')} against "
        f"{number(driver.baseline, '.4g')}, p {number(driver.p, '.2g')}"
    )
