"""What a session does with the frames of one read of a socket, however they are cut into reads."""

import json
from itertools import combinations, pairwise

import pytest

from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.servers import SERVERS
from feeds.record import RecordType, Redactor
from feeds.venue import ChannelOptions, Headed
from feeds.venues import VENUES
from tests.feeds.toy_venue import Toy, World, running

PONG = '{"op":"pong"}'
BEAT, BID, ASK = b'{"hb":1}', b'{"bid":1}', b'{"ask":"secret"}'


async def taken(cuts, venue=None, **changes):
    """What the inbox got of the same eight frames in reads cut there, the replies, the counts."""
    world = World()
    world.server.mute, world.server.symbols = True, ["A1", "A2"]
    async with running(world, venue, **changes):
        await world.until(lambda: world.server.sockets and world.server.sockets[0].received)
        link = world.session.links[0]
        await world.until(lambda: len(link.ledger.pending) == len(link.ledger.requests))
        order = link.ledger.pending[0]
        channels = list(order.request.channels)
        came, other = sorted(link.ledger.awaiting)[:2]
        first = b'{"channel":"%s"}' % came
        ack = json.dumps({"id": order.request.request_id, "ok": channels}).encode()
        frames = [BID, first, ack, ASK, BEAT, b"rubbish", BEAT, BID]
        begin, replies, stamps = len(world.inbox.records), [], []
        for at, to in pairwise([0, *cuts, len(frames)]):
            world.time.ns += 1
            stamps += [world.time.ns] * (to - at)
            replies += world.session.receiver.take(link, frames[at:to])
        records = world.inbox.records[begin:]
        counts = world.session.counts
        assert [r.rx_ns for r in records if r.type is RecordType.FRAME] == stamps
        assert [r.connection for r in records] == [0] * len(records)
        assert (counts.frames, counts.bytes) == (8, sum(map(len, frames)))
        assert link.last_frame_ns == stamps[-1]
        assert came not in link.ledger.awaiting
        assert other in link.ledger.awaiting
        return [(r.type, r.name, r.payload) for r in records], replies, frames, channels


async def test_a_read_is_taken_in_order_and_answers_are_recorded_where_they_stand():
    told, replies, frames, channels = await taken([])
    frame = RecordType.FRAME
    said = (
        RecordType.SUBSCRIPTION,
        "accepted",
        json.dumps(channels, separators=(",", ":")).encode(),
    )
    assert told == [
        *((frame, "", one) for one in frames[:3]), said, *((frame, "", one) for one in frames[3:]),
    ]  # fmt: skip
    assert replies == [PONG, PONG]


@pytest.mark.parametrize("cuts", [*combinations(range(1, 8), 1), (3, 4), (2, 5, 6), range(1, 8)])
async def test_how_frames_are_cut_into_reads_changes_nothing(cuts):
    whole, cut = await taken([]), await taken(cuts)
    assert cut == whole


async def test_a_venue_whose_frames_have_no_heads_is_obeyed_as_well():
    class Headless(Toy):
        MARKET_HEADS = ()

    assert await taken([], Headless()) == await taken([])


async def test_secrets_are_gone_from_every_frame_of_a_read():
    redact = Redactor(["secret"])
    told, *_ = await taken([], redact=redact)
    assert b'{"ask":"[redacted]"}' in [payload for _, _, payload in told]
    assert redact.count == 1


async def test_frames_behind_a_reply_that_fails_are_kept():
    world = World()
    async with running(world):
        await world.opened()

        class Broken:
            async def receive(self):
                return [BID, BEAT, BID, ASK]

            async def send_str(self, text):
                assert text == PONG
                raise ConnectionError("is gone")

        before = len(world.inbox.frames())
        ended = await world.session._read(world.session.links[0], Broken())
        assert ended.startswith("reply failed: ")
        assert world.inbox.frames()[before:] == [BID, BEAT, BID, ASK]


def stream(name, count):
    """What an emulator answers to every subscription, and then sends."""
    answers, sent = [], []

    class Tapped(SERVERS[name]):
        def deliver(self, channel, content):
            sent.append(content)

    class Client:
        path, heartbeat_ns, next_beat_ns = "", 0, 0

        def __init__(self):
            self.channels = set()

        def put(self, content, _now_ns):
            answers.append(content)
            return True

    server = Tapped(Market(5, 1_790_000_000_000_000_000, 40, profile=PROFILES[name]), 5)
    universe = server.market.universe
    plans = VENUES[name].subscriptions(
        universe.listings[: universe.public], ChannelOptions(), VENUES[name].LIMITS
    )
    for plan in plans:
        client = Client()
        client.path = plan.path
        for request in plan.requests:
            server.receive(client, request.text)
    while len(sent) < count:
        server.publish(server.market.step())
    return answers, sent


@pytest.mark.parametrize("name", [n for n in SERVERS if isinstance(VENUES[n], Headed)])
def test_what_has_the_head_of_market_data_is_nothing_to_be_obeyed(name):
    venue = VENUES[name]
    answers, sent = stream(name, 500)
    headed = [frame for frame in sent if frame.startswith(venue.MARKET_HEADS)]
    assert len(headed) > 0.9 * len(sent)  # Or the heads are not those of the frequent frames.
    assert all(venue.control(frame) is None for frame in headed)
    about_session = [frame for frame in answers if venue.control(frame) is not None]
    assert about_session
    assert not any(frame.startswith(venue.MARKET_HEADS) for frame in about_session)
