"""The demonstration itself, cut short: two local venues in a process, and the closing words."""

import json

from scanner.commands.demo import VENUES, base_settings, demo
from scanner.config import load


def test_a_demonstration_cut_short_says_that_nothing_was_planted_in_time(capsys):
    """Events begin 20 s after the first scored scan; this one ends before."""
    code = demo(
        1.5, seed=3, listings_count=1_000, device="cpu", record_to=None, picture=None,
        as_json=True, venues=("deribit", "okx"),
    )  # fmt: skip
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    planted = [row["planted"] for row in rows if "planted" in row]
    assert code == 0
    assert [one["event"] for one in planted] == [
        "sweep", "pull", "dislocation", "block", "pull", "lead",
    ]  # fmt: skip
    assert planted[1]["venues"] == ["deribit", "okx"]
    assert planted[-1]["venues"] == ["okx", "deribit"]
    assert {one["said"] for one in planted} == {
        "not planted in time; the run ended before the simulated market came to it"
    }
    assert not any(one["found"] for one in planted)
    starts = [one["start_ns"] for one in planted]
    assert starts == sorted(starts)
    # Each venue counts from its own last step of 100 ms.
    assert abs(starts[-1] - starts[0] - 20 * 10**9) <= 10**8
    assert rows[-1]["summary"]["scans"] > 0
    assert "local servers of deribit, okx" in shown.err


def test_a_demonstration_leaves_out_what_its_baselines_do_not_know(tmp_path):
    """An alert of a spot, unplanted, was opened on the baselines of options."""
    config = load(None, base_settings(tmp_path, "cpu", VENUES))
    assert set(config.venues) == set(VENUES)
    assert not any(venue.spots for venue in config.venues.values())
