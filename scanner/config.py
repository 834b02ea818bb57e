"""Stages 1 to 8 of 8: the one typed tree of settings, and the only importer of pydantic.

Every limit has a name, a unit, a bound, a default and a reason. A value comes from, strongest
first: an override (a command line option), the environment (`SCANNER_ENGINE__TICK_MS=50`), the
TOML file, the default. No setting is a secret: keys stand in files of their own, which settings
name (docs/SESSIONS.md).
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import model_validator as check
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from feeds.daily import DailyWindow
from scanner.config_source import (
    NESTED,
    PREFIX,
    Sources,
    describe,
    known_venues,
    nearest,
    read_toml,
    unknown_variables,
    venues_that_say,
)
from scanner.errors import ConfigError

LISTING_BLOCK: Final = 128  # device columns are padded to whole blocks of rows
LISTINGS_MAX: Final = (1 << 21) - LISTING_BLOCK  # a listing id has 21 bits in the ranking key
# A local setting says where a run lives and not what it computes. It stays out of the hash, so
# that a replay on another machine, device or folder gives the same alert bytes.
LOCAL: Final = Field(json_schema_extra={"local": True})
DIRECT: Final = "direct"  # in place of a venue's proxy: none
# User and password have no place in an address: settings are printed.
PROXY: Final = r"https?://[^\s@/?#]+/?"


def _split_commas(value: object) -> object:
    return (
        tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
    )


def _within(least: float, most: float) -> Any:
    return Field(ge=least, le=most)


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]


def _windows(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        DailyWindow.read(text)
    return texts


Windows = Annotated[Names, AfterValidator(_windows)]
IN_BLOCKS: Final = AfterValidator(lambda count: -(-count // LISTING_BLOCK) * LISTING_BLOCK)


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors.

    The text under each setting is its description: unit and reason.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class EngineSettings(Section):
    """The grid, the capacities and the device."""

    tick_ms: Annotated[int, _within(10, 60_000)] = 100
    """Tick period, ms: venues batch at 100 ms themselves."""
    scan_ms: Annotated[int, _within(10, 600_000)] = 1_000
    """Scoring period, ms, a multiple of tick_ms: strata of freshness start at 1 s."""
    listings_capacity: Annotated[int, _within(1, LISTINGS_MAX), IN_BLOCKS] = 16_384
    """Rows allocated at start, rounded up to 128, some 800 bytes each: the crypto universe is 10^4.
    More make room for themselves, a quarter more at a time; while the full rows are copied, a third
    as much memory is taken beside them, so name what will be listed where that is 10^6."""
    depth_slots_capacity: Annotated[int, _within(0, LISTINGS_MAX)] = 16_384
    """Listings that may keep a book below the touch at once; more have the touch."""
    device: Annotated[Literal["auto", "cpu", "cuda"], LOCAL] = "auto"
    """Where ticks run: the same bits everywhere; auto takes a usable GPU."""
    threads: Annotated[int, _within(0, 1_024), LOCAL] = 0
    """Threads of the CPU kernels; 0 takes all cores the process may use."""
    top_k: Annotated[int, _within(1, 10_000)] = 50
    """Ranked rows read back per list and scan: a screenful."""

    @check(mode="after")
    def _scan_is_whole_ticks(self) -> "EngineSettings":
        if self.scan_ms % self.tick_ms:
            raise ValueError(
                f"scan_ms was {self.scan_ms}, expected a multiple of tick_ms = {self.tick_ms}"
            )
        return self


class ScoringSettings(Section):
    """Baselines, smoothing and thresholds (docs/SCORING.md has the formulas)."""

    p_on: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """An episode opens at this p in 2 of 3 observations."""
    p_off: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    """An episode may close above this p: far from p_on, no flicker."""
    off_after_s: Annotated[float, _within(0, 86_400)] = 60
    """Time above p_off that closes an episode, s of grid time."""
    score_hold_s: Annotated[float, _within(1, 86_400)] = 300
    """A score without a new observation lapses after this, s."""
    group_members_min: Annotated[int, _within(2, 10_000)] = 8
    """Members scored in the window before a group has a score."""
    group_window_s: Annotated[float, _within(1, 3_600)] = 60
    """Age up to which a member's score counts in its group, s."""

    @check(mode="after")
    def _off_is_above_on(self) -> "ScoringSettings":
        if self.p_off <= self.p_on:
            raise ValueError(f"p_off was {self.p_off}, expected more than p_on = {self.p_on}")
        return self


class AlertSettings(Section):
    """When an open episode is told again."""

    update_every_s: Annotated[float, _within(0, 3_600)] = 10
    """Least time between two updates of one alert, s."""
    score_step: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Change of score (-log10 p) worth an update."""
    cooldown_s: Annotated[float, _within(0, 86_400)] = 60
    """A closed scope stays silent for this long, s, unless it is stronger than it ever was."""
    cooldowns_max: Annotated[int, _within(1, 1_000_000)] = 8_192
    """Closed scopes remembered; full: the oldest is forgotten, counted."""
    open_max: Annotated[int, _within(1, 1_000_000)] = 10_000
    """Episodes open at once per list; full: the strongest stay, the others are counted."""
    rules: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")] = "scoring-1"
    """Name of the rule set, part of every alert id."""


class VenueSettings(Section):
    """What to take from one venue. Names of channels as in feeds.venue.ChannelOptions."""

    enabled: bool = True
    """False keeps the block and leaves the venue out."""
    experimental: Annotated[bool, LOCAL] = False
    """True takes a venue known from its documentation alone, which nobody has seen live."""
    rest_url: Annotated[str | None, Field(pattern=r"^https?://\S+$"), LOCAL] = None
    """Base of the REST interface; without it the venue's own, which may move."""
    ws_url: Annotated[str | None, Field(pattern=r"^wss?://\S+$"), LOCAL] = None
    """WebSocket address; without it the venue's own, which may move."""
    transport: Annotated[Literal["aiohttp", "picows"], LOCAL] = "aiohttp"
    """Client of its WebSockets: picows costs a third a frame and needs the extra fast-ws."""
    underlyings: Annotated[Names, Field(min_length=1, max_length=10_000)] = (
        "BTC",
        "ETH",
    )
    """Underlyings to scan."""
    key_file: Annotated[Path | None, LOCAL] = None
    """TOML file of mode 0600 with the texts `key` and `secret`; public channels need none."""
    authenticated: bool = False
    """Log in with the key file and take what is for such connections: Deribit's `raw` channels."""
    proxy: Annotated[str | None, Field(pattern=rf"^({PROXY}|{DIRECT})$"), LOCAL] = None
    """In place of network.proxy: an address, or "direct" for none."""
    proxy_key_file: Annotated[Path | None, LOCAL] = None
    """Account of that proxy; network.proxy_key_file is not told to it."""
    maintenance: Annotated[Windows, Field(max_length=16), LOCAL] = ()
    """When the venue is down every day, UTC: ["HH:MM-HH:MM"]; silence is no trouble then."""
    book: Literal["delta", "window", "none"] = "delta"
    """Depth: whole books by deltas, a fixed window each time, or none."""
    book_depth: Annotated[int, _within(1, 128)] = 10
    """Levels a side of a window: as deep as the level OFIs look."""
    quotes: bool = False
    """Best bid and ask channel: needless beside a book."""
    tickers: bool = True
    """Mark, IV, greeks and open interest per listing."""
    trades: bool = True
    """Prints with aggressor."""
    marks: bool = True
    """Mark prices of the whole chain, where there are any."""
    index: bool = True
    """Index prices: premiums and crosses need them."""
    spots: bool = True
    """Spot pairs of the underlyings that have options, in USD, USDC or USDT, where the venue's
    adapter lists them."""
    depth_listings: Annotated[int | None, _within(1, 100_000)] = None
    """Options with depth at once, chosen anew as the market moves; the others come at their best
    prices. None: all have what `book` says."""

    @check(mode="after")
    def _depth_is_of_books(self) -> Self:
        if self.depth_listings is not None and self.book == "none":
            raise ValueError("depth_listings was given with book = none, expected delta or window")
        return self


class NetworkSettings(Section):
    """The way to all venues."""

    proxy: Annotated[str | None, Field(pattern=rf"^{PROXY}$")] = None
    """HTTP proxy, such as http://10.0.0.1:3128; the environment's are not looked at."""
    proxy_key_file: Path | None = None
    """TOML file of mode 0600 with its user as `key` and its password as `secret`."""
    ca_file: Path | None = None
    """PEM file of authorities to believe beside the system's: a private CA, a proxy's own."""


class LimitSettings(Section):
    """Bounds of queues, retries and memory, with what happens at the edge."""

    inbox_records: Annotated[int, _within(1_024, 16_777_216)] = 262_144
    """Frames received and not yet decoded; full: sockets are not read (TCP waits)."""
    inbox_mb: Annotated[int, _within(1, 65_536)] = 256
    """The same in MB; chain frames reach 250 kB each."""
    trade_keys: Annotated[int, _within(1_024, 67_108_864)] = 262_144
    """Trade ids remembered per venue to drop repeats; the oldest are forgotten."""
    journal_queue_batches: Annotated[int, _within(1, 65_536)] = 64
    """Batches of journal records waiting for the disk; full: the recording ends, counted."""
    journal_flush_records: Annotated[int, _within(1, 1_048_576)] = 2_048
    """Records of one batch: about 1 ms of the writing thread holding the interpreter."""
    journal_flush_mb: Annotated[int, _within(1, 1_024)] = 1
    """Payload of one batch, MB; whichever of the two is reached first."""
    journal_flush_s: Annotated[float, Field(gt=0, le=3_600)] = 1
    """Age at which a batch is written, s: what a kill may cost."""
    http_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30
    """One REST call, s: whole chains are megabytes."""
    http_body_mb: Annotated[int, _within(1, 1_024)] = 64
    """Largest REST body, MB; a larger one fails the call."""
    resync_inflight_max: Annotated[int, _within(1, 10_000)] = 64
    """Snapshots asked for at once per venue; others wait."""
    resync_backoff_s: Annotated[float, Field(gt=0, le=600)] = 1
    """Mean wait before the second try, s; doubles each time."""
    resync_backoff_max_s: Annotated[float, Field(gt=0, le=3_600)] = 60
    """Longest mean wait between tries, s."""
    connect_budget: Annotated[int, _within(1, 10_000)] = 30
    """Connections opened per venue and window, kept over restarts: no bans."""
    connect_window_s: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Window of connect_budget, s."""
    connect_backoff_s: Annotated[float, Field(gt=0, le=600)] = 1
    """Mean wait before the second connection, s; doubles."""
    connect_backoff_max_s: Annotated[float, Field(gt=0, le=3_600)] = 60
    """Longest mean wait between connections, s."""
    connect_state_file: Annotated[Path, LOCAL] = Path("recordings/connects.json")
    """Where spent connections are kept, so that a crash loop cannot spend more."""
    retire_grace_s: Annotated[float, _within(0, 86_400)] = 300
    """A retired row is not reused before this, s: late frames must not hit it."""
    sink_queue_alerts: Annotated[int, _within(1, 10_000_000)] = 10_000
    """Alerts waiting per sink; full: the oldest update of an alert goes first."""
    sink_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10
    """One delivery to a sink, s."""

    @check(mode="after")
    def _backoffs_grow(self) -> "LimitSettings":
        for name in ("resync_backoff", "connect_backoff"):
            first, most = getattr(self, f"{name}_s"), getattr(self, f"{name}_max_s")
            if most < first:
                raise ValueError(f"{name}_max_s was {most}, expected at least {name}_s = {first}")
        return self


class RecordSettings(Section):
    """The raw recording (journal)."""

    segment_mb: Annotated[int, _within(1, 16_384)] = 256
    """A segment is closed at this size, MB: what a power cut may cost."""
    compact: bool = True
    """Turn the segments of a run that has ended into one Parquet file."""


class CheckpointSettings(Section):
    """Baselines carried from one run to the next."""

    start: Annotated[str, Field(min_length=1)] = "cold"
    """"cold", or the path of a checkpoint."""
    save_file: Path | None = None
    """Where a run that ends leaves its checkpoint; none without it."""


class ViewSettings(Section):
    """The table in the terminal."""

    rows: Annotated[int, _within(1, 1_000)] = 20
    """Ranked rows shown."""


class ScanConfig(Section):
    """All settings of a run. `ScanConfig()` is the defaults and reads no environment.

    Naming any venue replaces the default mapping; it is not added to it.
    """

    engine: EngineSettings = EngineSettings()
    scoring: ScoringSettings = ScoringSettings()
    alerts: AlertSettings = AlertSettings()
    venues: Mapping[str, VenueSettings] = {"deribit": VenueSettings()}
    """Venue name (a module of feeds.venues) to its settings."""
    network: Annotated[NetworkSettings, LOCAL] = NetworkSettings()
    limits: LimitSettings = LimitSettings()
    record: Annotated[RecordSettings, LOCAL] = RecordSettings()
    checkpoint: Annotated[CheckpointSettings, LOCAL] = CheckpointSettings()
    view: Annotated[ViewSettings, LOCAL] = ViewSettings()


class _Environment(BaseSettings, ScanConfig):
    """The same tree, for pydantic-settings to look its names up in the environment."""

    # Values stay text: validation reads them like any other, lists being split at commas.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, enable_decoding=False
    )


def load(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> ScanConfig:
    """Read the settings from all sources.

    Args:
        path: TOML file; None reads no file.
        overrides: dotted key to value, such as {"engine.device": "cpu"}; a value of None is
            an option that was not given.

    Raises:
        ConfigError: with one line for each problem, each naming source, key, value, expectation.
    """
    sources = Sources(
        path=path,
        file=read_toml(path) if path else {},
        environment=EnvSettingsSource(_Environment)(),
        overrides={key: value for key, value in (overrides or {}).items() if value is not None},
    )
    config = _validated(sources, unknown_variables(tuple(ScanConfig.model_fields)))
    problems = (*_unasked_experiments(config, sources), *_depth_without_tiers(config, sources))
    if problems:
        raise ConfigError(problems)
    return config


def from_effective(values: Mapping[str, Any], overrides: Mapping[str, object]) -> ScanConfig:
    """Settings from what `effective` gave, and overrides as in `load`; reads no environment.

    Experimental venues need no word here: it was given when the settings were first read.

    Raises:
        ConfigError: a value that this version does not take.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    return _validated(Sources(path=None, file=dict(values), environment={}, overrides=given), ())


def _validated(sources: Sources, found: Iterable[str]) -> ScanConfig:
    merged = sources.merged()
    problems = [*found, *_unknown_venues(merged, sources)]
    try:
        config = ScanConfig.model_validate(merged)
    except ValidationError as error:
        known = known_keys()
        problems += [describe(p, known, sources) for p in error.errors(include_url=False)]
        raise ConfigError(tuple(problems)) from None
    if problems:
        raise ConfigError(tuple(problems))
    return config


def known_keys(section: type[Section] = ScanConfig, above: str = "") -> tuple[str, ...]:
    """All dotted keys in the order of the tree; a venue's settings stand under `venues.*`."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        key = f"{above}{name}"
        keys.append(key)
        below = VenueSettings if key == "venues" else field.annotation
        if isinstance(below, type) and issubclass(below, Section):
            keys.extend(known_keys(below, f"{key}.*." if key == "venues" else f"{key}."))
    return tuple(keys)


def effective(config: Section, *, identity_only: bool = False) -> dict[str, Any]:
    """Settings as JSON values; `identity_only` leaves out what does not change any score."""
    whole = config.model_dump(mode="json")
    return _without_local(config, whole) if identity_only else whole


def config_hash(config: ScanConfig) -> str:
    """128-bit BLAKE2b, hex, of the settings that can change an alert.

    Device, threads, addresses and the places of files are not among them.
    """
    text = json.dumps(
        effective(config, identity_only=True),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return blake2b(text.encode(), digest_size=16).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON Schema of the TOML file, with unit, reason and bounds of every setting."""
    return ScanConfig.model_json_schema()


def _is_local(field: Any) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("local"))


def _without_local(section: Section, dumped: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if _is_local(field):
            continue
        if isinstance(value, Section):
            kept[name] = _without_local(value, dumped[name])
        elif name == "venues":
            kept[name] = {k: _without_local(v, dumped[name][k]) for k, v in value.items()}
        else:
            kept[name] = dumped[name]
    return kept


def _unknown_venues(merged: Mapping[str, Any], sources: Sources) -> list[str]:
    venues = merged.get("venues")
    names = list(venues) if isinstance(venues, Mapping) else []
    known = known_venues()
    return [
        f"{sources.name(('venues', name))} is not a known venue{nearest(name, known)}"
        for name in names
        if name not in known
    ]


def _unasked_experiments(config: ScanConfig, sources: Sources) -> tuple[str, ...]:
    """What is wrong with experimental venues that are on without their owner saying so."""
    experimental = venues_that_say("EXPERIMENTAL")
    return tuple(
        f"{sources.name(('venues', name))} is experimental: written from documentation alone, "
        f"never seen live; expected experimental = true in [venues.{name}]"
        for name, settings in config.venues.items()
        if name in experimental and settings.enabled and not settings.experimental
    )


def _depth_without_tiers(config: ScanConfig, sources: Sources) -> tuple[str, ...]:
    """What is wrong with venues of one tier that were given a number of listings with depth."""
    one_tier = venues_that_say("ONE_TIER")
    return tuple(
        f"{sources.name(('venues', name, 'depth_listings'))} was given, and the venue has no best "
        "prices but those of whole books"
        for name, settings in config.venues.items()
        if name in one_tier and settings.depth_listings is not None
    )
