"""Venues without a fuzz test of their own: any bytes give rows or a counted error."""

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.errors import FrameError
from feeds.events import DecodeOut
from feeds.venue import Control, Scanned
from feeds.venues import VENUES
from tests.feeds import both_ways, venue_samples
from tests.feeds.venue_frames import RX_NS, contents, mutated

NAMES = list(venue_samples.SAMPLES)
ANY = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def decode(venue: Any, frames: Sequence[bytes], ids: dict[str, int]) -> DecodeOut:
    out = DecodeOut()
    venue.decode(frames, [RX_NS + k for k in range(len(frames))], ids, out)
    return out


@pytest.mark.parametrize("name", NAMES)
@ANY
@given(data=st.data())
def test_mutated_frames_give_rows_or_a_counted_error_and_spoil_no_others(name: str, data: Any):
    samples: ModuleType = venue_samples.SAMPLES[name]
    venue, ids = VENUES[name], samples.IDS
    frames = data.draw(st.lists(mutated(samples.FRAMES), min_size=1, max_size=4))
    frames.insert(data.draw(st.integers(0, len(frames))), samples.FRAMES[0])
    # Where there is a byte scanner, with and without it.
    scanned = isinstance(venue, Scanned)
    whole = both_ways.decoded(venue, frames, ids, RX_NS) if scanned else decode(venue, frames, ids)
    one_by_one = DecodeOut()
    for k, content in enumerate(frames):
        venue.decode([content], [RX_NS + k], ids, one_by_one)
    assert contents(whole) == contents(one_by_one)
    assert decode(venue, samples.FRAMES[:1], ids).error_count == 0
    for content in frames:
        assert venue.control(content) is None or isinstance(venue.control(content), Control)


@pytest.mark.parametrize("name", NAMES)
@ANY
@given(content=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes_are_an_error_or_nothing(name: str, content: bytes):
    venue = VENUES[name]
    out = decode(venue, [content], {})
    assert out.rows.count == out.tickers.count == out.frames.count == 0
    assert out.error_count + sum(out.skipped.values()) >= 1
    venue.control(content)


@pytest.mark.parametrize("name", NAMES)
@ANY
@given(data=st.data())
def test_mutated_bodies_of_discovery_give_listings_or_a_frame_error(name: str, data: Any):
    samples: ModuleType = venue_samples.SAMPLES[name]
    body = data.draw(mutated(samples.BODIES))
    try:
        found = VENUES[name].instruments(body)
    except FrameError:
        return
    for listing in found.listings:
        assert listing.venue == name
    assert all(count > 0 for count in found.left_out.values())


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_sound_and_of_every_family(name: str):
    samples: ModuleType = venue_samples.SAMPLES[name]
    out = decode(VENUES[name], samples.FRAMES, samples.IDS)
    assert out.errors == []
    assert out.rows.count
    assert bool(out.tickers.count) == (name != "binance_spot")  # It has none.
    assert out.frames.count
    assert out.trade_keys
    for body in samples.BODIES:
        json.loads(body)
        assert VENUES[name].instruments(body).listings
