"""When a session says that a lost connection is as it was before."""

from dataclasses import replace

from feeds.record import RecordType
from tests.feeds.toy_venue import LIMITS, POLICY, World, running

FIRST_FRAMES = ('{"channel":"book.A1"}', '{"channel":"ticker.A1"}')


def recovered(world: World) -> list[bytes]:
    return [record.payload for record in world.inbox.of(RecordType.TIMER, "recovered")]


async def lose_and_return(world: World) -> None:
    """Live once, lose the connection, and be accepted on the next."""
    await world.accepted("ticker.A1")
    await world.server.sockets[-1].ws.close()
    await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
    await world.back_off()
    await world.until(lambda: len(world.inbox.channels("accepted")) == 6)


async def test_connection_is_whole_when_every_first_frame_it_owes_is_there():
    world = World()
    async with running(world):
        await lose_and_return(world)
        assert world.session.links[0].recovering
        await world.push(FIRST_FRAMES[0])
        await world.pass_s(1.0)
        assert recovered(world) == []
        await world.push(FIRST_FRAMES[1])
        await world.pass_s(0.0)
        assert recovered(world) == [b"whole"]
        assert not world.session.links[0].recovering
    assert (world.session.counts.recoveries, world.session.counts.recoveries_cut) == (1, 0)


async def test_connection_with_a_request_to_send_is_not_whole():
    world = World()
    async with running(world):
        await world.accepted("ticker.A1")
        world.server.mute = True
        await world.server.sockets[-1].ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        await world.back_off()
        await world.opened(2)
        for frame in FIRST_FRAMES:
            await world.push(frame)
        await world.pass_s(1.0)
        assert recovered(world) == []


async def test_channel_that_owes_a_frame_for_ever_holds_nothing_up_beyond_the_limit():
    world = World()
    policy = replace(POLICY, recovering_max_s=30.0, first_data_s=500.0)
    async with running(world, policy=policy, limits=replace(LIMITS, silence_s=500.0)):
        await lose_and_return(world)
        await world.push(FIRST_FRAMES[0])
        await world.pass_s(29.0)
        assert recovered(world) == []
        await world.pass_s(1.0)
        assert recovered(world) == [b"limit"]
    assert world.session.counts.recoveries_cut == 1


async def test_neither_the_first_connection_nor_the_last_close_is_an_outage():
    world = World()
    async with running(world):
        await world.accepted("ticker.A1")
        for frame in FIRST_FRAMES:
            await world.push(frame)
        await world.pass_s(1.0)
    assert recovered(world) == []
    assert not world.session.links[0].recovering


async def test_lost_connection_that_nothing_is_wanted_of_any_more_has_recovered():
    world = World()
    world.server.symbols = ["A1", "B1"]
    limits = replace(LIMITS, channels_per_connection=3)  # trades and A1; B1 on another.
    async with running(world, limits=limits):
        await world.accepted("ticker.A1", "ticker.B1")
        alone = next(s for s in world.server.sockets if s.channels() == ["book.B1", "ticker.B1"])
        await alone.ws.close()
        await world.until(lambda: world.inbox.of(RecordType.CONNECTION, "close"))
        world.server.symbols = ["A1"]
        world.session.request_discovery()
        await world.pass_s(POLICY.discovery_min_s)
        await world.until(lambda: world.session.counts.delisted == 1)
        await world.pass_s(POLICY.retry_cap_s)
        await world.until(lambda: recovered(world))
        link = next(link for link in world.session.links if not link.ledger.wanted)
        assert not link.recovering
    assert recovered(world) == [b"whole"]
