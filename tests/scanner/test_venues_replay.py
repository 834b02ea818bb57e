"""Every emulated venue, scanned live and recorded: the recording replays to the same bytes."""

import pytest

from feeds.emulator.process import EmulatorProcess
from feeds.emulator.servers import SERVERS
from feeds.tiers import Refusal
from kernels import columns as c
from kernels.columns import Validity
from scanner import depth
from scanner.alert import encode
from scanner.commands.live import ALERTS_NAME
from scanner.pipeline import Pipeline
from scanner.replay import replay_journal
from tests.scanner.live_runs import digest, run_live, settings

# Counts that tell how a run went in real time, and those that only a reader of a log has.
LIVE_ONLY = {"overruns", "forced_drains", "clock_steps", "journal_lost"}
REPLAY_ONLY = {
    "records", "truncated", "lost_bytes", "batch_mismatches", "same_config", "same_version",
}  # fmt: skip

# Coincall's sockets are for accounts alone, and no setting names the keys of one:
# tests/feeds/test_coincall_session.py replays it.
VENUES = [name for name in SERVERS if name != "coincall"]
# What has no options is scanned beside the options that hang on it.
COMPANIONS = {"binance": ["binance", "binance_futures", "binance_spot"]}
WITHOUT_OPTIONS = {"binance_futures", "binance_spot"}


def lose_and_find(emulator, done):
    """A scenario: all venues followed, every connection lost, every book back, then alerts.

    It goes on until `done(live)`, too.
    """

    async def scenario(watch, live):
        universe = live.pipeline.universe
        await watch.until(
            lambda: (
                all(universe.symbols(venue) for venue in emulator.venues)
                and universe.live_count > 50 * len(emulator.venues.keys() - WITHOUT_OPTIONS)
                and len(watch.with_bits(c.NO_STATE)) < universe.live_count // 4
            )
        )
        watch.ever_in_gap.clear()
        while not watch.ever_in_gap:  # Connections may be back before the next scan.
            for venue in emulator.venues:
                await emulator.post(venue, "fault", [{"kind": "disconnect"}])
            for _ in range(5):
                await watch.until(lambda: True)
        await watch.until(lambda: not watch.in_gap())
        await watch.until(lambda: not watch.with_bits(Validity.RECOVERING))
        await watch.until(lambda: watch.alerts > 3 and done(live))

    return scenario


def replayed(config, folder):
    """Lines of the alerts, digests of the scans and summary of a recording."""
    pipeline, extra = Pipeline(config), {}
    lines, digests = [], []
    for now_ns, alerts in replay_journal(folder, config, pipeline, extra):
        lines += [encode(alert) for alert in alerts]
        digests.append((now_ns, digest(pipeline.last_scan)))
    return lines, digests, pipeline.summary(extra)


def assert_equal_replay(venues, folder, speed, done=lambda _live: True, **more):
    with EmulatorProcess(seed=11, listings=100, venues=venues, speed=speed) as emulator:
        config = settings(emulator, folder, scoring__p_on=0.2, **more)
        recording = folder / "recording"
        live, watch = run_live(config, recording, lose_and_find(emulator, done))
    lines, digests, summary = replayed(config, recording)
    assert lines == (recording / ALERTS_NAME).read_bytes().splitlines()
    assert len(lines) > 3
    assert digests == watch.digests
    told = live.summary()
    assert {k: v for k, v in summary.items() if k not in REPLAY_ONLY} == {
        k: v for k, v in told.items() if k not in LIVE_ONLY
    }
    assert (summary["batch_mismatches"], summary["lost_bytes"]) == (0, 0)
    assert summary["same_config"]
    assert told["journal_lost"] == 0
    assert list(live.intake.errors) == []
    assert summary["feed"].get("frame_errors", 0) == 0
    assert watch.scored_in_gap == set()
    assert watch.ever_recovering >= watch.ever_in_gap
    for name, session in live.sessions.items():
        assert session.counts.connects > len(session.links)  # Lost, and found again.
        assert session.counts.recoveries > 0
        assert session.counts.recoveries_cut == 0
        assert live.intake.counts[name]["rows"] > 0
    return live


@pytest.mark.parametrize("venue", [name for name in VENUES if name not in WITHOUT_OPTIONS])
def test_a_recording_of_a_venue_replays_to_the_same_bytes(venue, tmp_path):
    assert_equal_replay(COMPANIONS.get(venue, [venue]), tmp_path, 10.0)


def test_a_recording_of_all_venues_at_once_replays_to_the_same_bytes(tmp_path):
    assert_equal_replay(VENUES, tmp_path, 3.0)


def test_depth_that_follows_the_scans_replays_to_the_same_bytes(tmp_path, monkeypatch):
    # At the first choice nothing is known yet, and the run may be over before there is a second.
    monkeypatch.setattr(depth, "EVERY_NS", 500 * 10**6)
    venues = ["deribit", "okx", "bybit"]
    more = {f"venues__{name}__depth_listings": 10 for name in venues}

    refused: dict[str, set[str]] = {}

    def whole(live):
        if not all(session.counts.depth_grown > 10 for session in live.sessions.values()):
            return False
        for name, session in live.sessions.items():
            chosen = deep_options(session)
            if len(chosen) < 10:
                return False  # At first, and until others have the places of those refused.
            if name not in refused:
                refused[name] = set(sorted(chosen)[:3])
                refuse(session, refused[name])
                return False
        return True

    live = assert_equal_replay(venues, tmp_path, 10.0, done=whole, **more)
    for name, session in live.sessions.items():
        assert len(session.subscriber.tier.symbols) <= 10 + 6  # perpetuals and spots always have it
        assert not deep_options(session) & refused[name]
        assert session.counts.depth_refused == 3


def deep_options(session):
    return {s for s in session.subscriber.tier.symbols if session.listings[s].contract is not None}


def refuse(session, symbols):
    """Make a session give up the depth of listings, as if the venue had not sent it."""
    carried = [c for link in session.links if link.deep for c in link.ledger.wanted]
    channels = [c for c in carried if session.venue.symbol_of_channel(c) in symbols]
    session.subscriber.refuse(channels, Refusal(2**62, None))
