"""The soak in short: every venue, faults of every kind that is over in seconds; and it can fail."""

import asyncio

import numpy as np
import pytest

from benchmarks.soak import Options, soak
from benchmarks.soaking import world
from benchmarks.soaking.ends import Samples, in_use_mb
from benchmarks.soaking.plan import KINDS
from benchmarks.soaking.world import SoakWorld
from feeds.events import FrameKind
from feeds.receiver import Receiver
from feeds.session import VenueSession
from feeds.venues import bybit, deribit

# Silence is noticed after minutes; what is refused is asked for again after a pause of minutes.
SLOW = {"half_open", "refuse", "limit", "limit_rest", "unknown_kind", "skew"}
QUICK = tuple(kind for kind in KINDS if kind not in SLOW)


def short(folder, **options):
    chosen = {
        "settings": {"scoring.p_on": 0.2, "scoring.p_off": 0.5},
        "seconds": 36.0,
        "seed": 11,
        "intensity": 12.0,
        "calm_s": 15.0,
        "kinds": QUICK,
    }
    return soak(Options(**(chosen | options)), folder)


def said(outcome):
    return [f"{v.venue}: {v.what}" for v in outcome.violations]


def broken(monkeypatch, venue, damage):
    """Let a venue's decoder do its work and spoil it afterwards."""
    decode = venue.decode

    def spoiled(frames, rx_ns, symbols, out):
        decode(frames, rx_ns, symbols, out)
        damage(out)

    monkeypatch.setattr(venue, "decode", spoiled)


def test_a_short_soak_of_every_venue_finds_nothing(tmp_path):
    outcome = short(tmp_path)
    assert said(outcome) == []
    assert {planted.venue for planted in outcome.watch.planted} == set(outcome.world.servers)
    assert {planted.kind for planted in outcome.watch.planted} == set(QUICK)
    compared = outcome.watch.compared
    assert all(
        compared[name] > 10 * server.market.universe.public
        for name, server in outcome.world.servers.items()
    )


def test_swapped_sides_are_found(tmp_path, monkeypatch):
    def swap(out):
        out.rows.view()["side"] *= -1

    broken(monkeypatch, bybit, swap)
    outcome = short(tmp_path, venues=("bybit", "okx"), seconds=22.0)
    assert any("bybit: " in line and "wrong; book of" in line for line in said(outcome))
    assert not any(line.startswith("okx") for line in said(outcome))


def test_an_adapter_that_believes_every_change_follows_is_found(tmp_path, monkeypatch):
    last = {}

    def forge(out):
        frames = out.frames.view()
        for frame in frames:
            if frame["kind"] in (FrameKind.DELTA, FrameKind.CHAINED):
                frame["seq_prev"] = last.get(int(frame["listing_id"]), frame["seq_prev"])
            last[int(frame["listing_id"])] = int(frame["seq_last"])

    broken(monkeypatch, deribit, forge)
    outcome = short(tmp_path, venues=("deribit",), kinds=("gap", "truncate"))
    assert any("wrong; book of" in line for line in said(outcome))


def test_books_that_are_never_asked_for_again_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(VenueSession, "request_resync", lambda *_: None)
    outcome = short(tmp_path, venues=("deribit",), kinds=("gap",))
    assert any("not whole at the end" in line for line in said(outcome))


def test_frames_that_vanish_without_a_count_are_found(tmp_path, monkeypatch):
    def vanish(out):
        out.tickers.count = 0

    broken(monkeypatch, bybit, vanish)
    outcome = short(tmp_path, venues=("bybit",), seconds=22.0)
    assert any(line.startswith(": bybit: b'") for line in said(outcome))


def test_a_frame_that_a_session_drops_is_found(tmp_path, monkeypatch):
    take, taken = Receiver.take, []

    def forgetful(receiver, link, frames):
        taken.extend(frames)
        forgotten = len(taken) - len(frames) < 900 <= len(taken)
        return take(receiver, link, frames[1:] if forgotten else frames)

    monkeypatch.setattr(Receiver, "take", forgetful)
    monkeypatch.setattr(world, "SETTLE_S", 1.0)
    outcome = short(tmp_path, venues=("okx",))
    assert any("did not settle: okx sent" in line for line in said(outcome))


def test_a_task_that_is_left_is_found(tmp_path, monkeypatch):
    begin = SoakWorld.__aenter__

    async def careless(self):
        self.left = asyncio.create_task(asyncio.Event().wait(), name="careless")
        return await begin(self)

    monkeypatch.setattr(SoakWorld, "__aenter__", careless)
    outcome = short(tmp_path, venues=("okx",), seconds=16.0)
    assert said(outcome)[0] == ": tasks are left: ['careless']"


@pytest.mark.parametrize(("slope", "found"), [(2.0, False), (20.0, True)])
def test_memory_that_grows_is_found_however_it_swings(slope, found):
    at_s = np.arange(0.0, 7200.0, 60.0)
    # The warm-up takes what it takes.
    mb = 300.0 + np.minimum(at_s, 900.0) / 10.0 + slope * at_s / 3600.0 + at_s % 1320.0 / 60.0
    samples = Samples(at_s.tolist(), mb.tolist(), mb.tolist(), [50] * len(at_s))
    assert bool(samples.faults()) is found


@pytest.mark.parametrize("size", [100, 100_000])  # A small block of Python's, and one of malloc's.
def test_what_is_held_is_in_use_and_what_is_freed_is_not(size):
    before = in_use_mb()
    held = [bytes(size) for _ in range(20_000_000 // size)]
    assert 20.0 <= in_use_mb() - before < 40.0
    held.clear()
    assert abs(in_use_mb() - before) < 1.0
