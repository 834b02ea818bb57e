"""The search through decoders in short: it finds nothing, repeats, and finds what is broken."""

import random
from contextlib import suppress
from unittest import mock

import msgspec
import numpy as np
import pytest

from benchmarks.fuzzing.arcs import Arcs, lines_of
from benchmarks.fuzzing.guided import Search
from benchmarks.fuzzing.mutate import BYTES_MAX, Mutator, elements_of
from benchmarks.fuzzing.seeds import seeds_of
from benchmarks.fuzzing.stretch import growth_of
from benchmarks.fuzzing.trial import Result, Trials
from feeds.bytescan import scanner
from feeds.bytescan.scanner import ByteScanner
from feeds.columns import Batch
from feeds.errors import FrameError
from feeds.events import Flag
from feeds.venues import VENUES, gate
from feeds.venues.gate import wire

STEPS = {"okx": 200, "gate": 910}  # Then there was a print.
FRAME = b'{"a":"t","d":{"p":0.1,"q":[["0.038","200"],[1,2.5]],"n":null}}'


@pytest.fixture(scope="module")
def seeds():
    found = {}

    def of(name):
        if name not in found:
            found[name] = seeds_of(name, STEPS[name])
        return found[name]

    return of


def searched(seeds, name, inputs, seed=7):
    search = Search(name, Trials(VENUES[name], seeds(name)), seed)
    search.run(inputs)
    return search


def rules(search):
    """Rules that were broken; of exceptions their kind."""
    return {f.fault.split(" in ")[0] for f in search.findings if f.fault.startswith("raised")} | {
        f.fault.partition(":")[0] for f in search.findings if not f.fault.startswith("raised")
    }


@pytest.mark.parametrize(("name", "inputs"), [("okx", 80), ("gate", 200)])
def test_a_short_search_finds_nothing_and_reaches_more_than_the_seeds(seeds, name, inputs):
    search = searched(seeds, name, inputs)
    assert search.findings == []
    assert search.inputs == inputs + len(seeds(name).frames) + len(seeds(name).bodies)
    assert sum(search.outcomes.values()) == search.inputs
    assert {"frame carried", "frame skipped", "frame failed", "body read", "body refused"} <= set(
        search.outcomes
    )
    assert search.progress[-1].arcs > search.progress[0].arcs
    assert search.progress[-1].lines > 0.9 * search.progress[0].lines > 100
    growth = growth_of(search)
    assert growth.inputs > 50
    assert growth.memory_a_byte[0] > 1


def test_equal_seeds_give_equal_searches(seeds):
    digests = [searched(seeds, "gate", 60, seed).digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


# Broken decoders.


class LooseLevel(msgspec.Struct):
    p: float
    s: float


class LooseBook(
    msgspec.Struct, rename={"instrument_name": "contract", "number": "id", "time_ms": "t"}
):
    instrument_name: str
    number: wire.Number63
    time_ms: wire.Ms
    bids: list[LooseLevel]
    asks: list[LooseLevel]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_reader_without_its_checks_is_found(seeds, monkeypatch):
    loose = msgspec.json.Decoder(LooseBook, strict=False)
    monkeypatch.setattr(wire, "read_book", loose.decode)
    search = searched(seeds, "gate", 600)
    found = [f for f in search.findings if f.fault.startswith(("price", "size"))]
    assert found
    # It breaks the same rule still, though it was shortened.
    again = search.target.trial("frame", found[0].content, random.Random(1)).faults
    assert any(fault[:5] == found[0].fault[:5] for fault in again)


def test_a_finding_is_shortened_to_what_breaks_the_rule():
    class Fragile:
        seeds, files, own = {"frame": (b"0123xy6789",)}, (), ()

        def trial(self, kind, content, rng):
            return Result(faults=["xy: together"] if b"xy" in content else [])

    search = Search("fragile", Fragile(), 7)
    search.try_one("frame", b"0123xy6789" * 3)
    assert [(f.fault, f.content, f.at_input) for f in search.findings] == [
        ("xy: together", b"xy", 1)
    ]
    assert (search.pools["frame"], search.told) == ([], {"xy": 1})


def test_an_exception_is_found(seeds, monkeypatch):
    def trusting(reader, framed, batch):
        return [reader(one.envelope.result) for one in framed], framed

    monkeypatch.setitem(gate.decode.__globals__, "_read", trusting)
    assert "raised: ValidationError" in rules(searched(seeds, "gate", 60))


def test_frames_that_vanish_are_found(seeds, monkeypatch):
    monkeypatch.setattr(Batch, "skip", lambda _self, _reason, _count=1: None)
    assert "silent" in rules(searched(seeds, "gate", 20))


def test_a_frame_that_takes_its_neighbours_along_is_found(seeds, monkeypatch):
    venue, decode = VENUES["gate"], gate.decode

    def all_or_nothing(frames, rx_ns, symbols, out):
        decode(frames, rx_ns, symbols, out)
        if out.error_count and len(frames) > 1:
            out.rows.count = 0

    monkeypatch.setattr(venue, "decode", all_or_nothing)
    assert rules(searched(seeds, "gate", 40)) == {"neighbours"}


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("side", lambda rows: np.multiply(rows["side"], 2, out=rows["side"])),
        ("flags", lambda rows: np.add(rows["flags"], np.uint16(Flag.REJECTED), out=rows["flags"])),
        ("last", lambda rows: np.multiply(rows["flags"], 0, out=rows["flags"])),
        ("listing", lambda rows: np.add(rows["listing_id"], 10_000, out=rows["listing_id"])),
        ("kind", lambda rows: np.add(rows["kind"], 20, out=rows["kind"])),
        ("update", lambda rows: np.multiply(rows["side"], -1, out=rows["side"])),
        ("price", lambda rows: np.multiply(rows["price"], -1, out=rows["price"])),
        ("size", lambda rows: np.multiply(rows["size"], -1, out=rows["size"])),
    ],
)
def test_rows_that_are_not_well_formed_are_found(seeds, monkeypatch, rule, spoil):
    decode = gate.decode

    def spoiled(frames, rx_ns, symbols, out):
        decode(frames, rx_ns, symbols, out)
        spoil(out.rows.view())

    monkeypatch.setattr(VENUES["gate"], "decode", spoiled)
    assert rule in rules(searched(seeds, "gate", 0))


def test_a_scanner_that_differs_is_found(seeds, monkeypatch):
    add = ByteScanner._add_updates

    def less(self, found, batch):
        add(self, found._replace(updates=found.updates[:-1]), batch)

    monkeypatch.setattr(ByteScanner, "_add_updates", less)
    assert "scanned" in rules(searched(seeds, "okx", 0))


def test_a_scanner_out_of_its_bounds_is_found(seeds):
    search = Search("okx", Trials(VENUES["okx"], seeds("okx")), 7)
    with mock.patch.object(scanner, "_PADDING", b""):
        # Uncompiled: what it reads there would be nobody's.
        search.target.scanner.compiled, compiled = None, search.target.scanner.compiled
        try:
            search.try_one("frame", b'{"arg":{"channel":"books')
        finally:
            search.target.scanner.compiled = compiled
    assert rules(search) == {"raised: AssertionError"}


def test_a_listing_that_cannot_be_one_is_found(seeds, monkeypatch):
    instruments = gate.instruments

    def nameless(body):
        found = instruments(body)
        for listing in found.listings:
            object.__setattr__(listing, "symbol", "")
        return found

    monkeypatch.setattr(VENUES["gate"], "instruments", nameless)
    assert "listing terms" in rules(searched(seeds, "gate", 0))


# What guides it.


def test_arcs_are_the_steps_between_lines_of_the_files_asked_for():
    arcs = Arcs([gate.decode.__code__.co_filename])
    arcs.run(gate.decode, [b"{}"], [1], {}, mock.MagicMock())
    assert arcs.taken
    assert {name for name, _, _ in arcs.taken} == {gate.decode.__code__.co_filename}
    first = gate.decode.__code__.co_firstlineno
    assert min(before for _, before, _ in arcs.taken) <= -first
    assert all(line > 0 for _, line in lines_of(arcs.taken))
    with suppress(FrameError):
        arcs.run(gate.instruments, b"{")  # another file
    assert {name for name, _, _ in arcs.taken} == {gate.decode.__code__.co_filename}


def test_parts_of_a_text_are_its_values_and_members():
    assert {FRAME[begin:end] for begin, end in elements_of(FRAME)} == {
        FRAME, b'"a":"t"', FRAME[9:-1], b'"p":0.1', b'"q":[["0.038","200"],[1,2.5]]', b'"n":null',
        b'["0.038","200"]', b'"0.038"', b'"200"', b"[1,2.5]", b"1", b"2.5",
    }  # fmt: skip
    assert elements_of(b"") == []
    assert {b"[1,2][a:b"[begin:end] for begin, end in elements_of(b"[1,2][a:b")} >= {b"1", b"[1,2]"}


def test_mutated_texts_vary_stay_short_and_repeat():
    made = [Mutator(random.Random(3), [b'"p"']) for _ in range(2)]
    texts = [[m.mutated(FRAME, b'{"k":[7]}') for _ in range(2_000)] for m in made]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1_000
    assert max(map(len, texts[0])) <= BYTES_MAX
    said = b"\n".join(texts[0])
    for found in (b'"k":[7]', b'"p":0.1,"p":0.1', b"\xff", b'"p":"0.1"', b'"d":{}', b"[" * 100):
        assert found in said


@pytest.mark.parametrize("name", list(STEPS))
def test_seeds_are_sound_and_there_is_more_than_one_of_each_kind(seeds, name):
    search = searched(seeds, name, 0)
    assert set(search.outcomes) == {"frame carried", "frame skipped", "body read"}
    assert search.outcomes["frame carried"] > 5
    assert (
        search.progress[0].kept
        == search.inputs
        == len(set(search.pools["frame"])) + len(set(search.pools["body"]))
    )


@pytest.mark.parametrize("name", list(VENUES))
def test_every_venue_has_seeds(name):
    seeds = seeds_of(name, 4)
    assert seeds.frames
    assert seeds.bodies
    assert seeds.own
    assert all(path.is_file() for path in seeds.files)
    if name in ("binance_futures", "binance_spot"):
        assert any(path.parts[-2:] == ("binance", "families.py") for path in seeds.files)
