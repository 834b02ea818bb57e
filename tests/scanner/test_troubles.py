"""What a run tells of the troubles of its feeds."""

from scanner.config import load
from scanner.run import LiveHooks, LiveRun


def test_maintenance_is_told_neither_as_trouble_nor_as_its_end(tmp_path):
    said = []
    config = load(
        None,
        {
            "engine.listings_capacity": 128,
            "limits.connect_state_file": str(tmp_path / "connects.json"),
        },
    )
    hooks = LiveHooks(on_trouble=lambda venue, text: said.append((venue, text)))
    live = LiveRun(config, hooks=hooks, scanning=False)
    session, now_ns = live.sessions["deribit"], live.clock.now_ns()
    session.discoverer.problem = "status was 503"
    session.upkeep.notice(now_ns, down=True)
    live._tell_troubles({})
    live._tell_troubles({"deribit": (0, "down before")})
    assert said == []
    session.upkeep.notice(now_ns, down=False)
    live._tell_troubles({"deribit": (0, "down before")})
    session.discoverer.problem = ""
    live._tell_troubles({"deribit": (0, "down before")})
    assert said == [("deribit", "status was 503"), ("deribit", "")]
