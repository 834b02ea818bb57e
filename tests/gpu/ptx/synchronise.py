"""Decodes what lets threads meet or part: barriers, shuffles, votes, branches, exits.

A warp-level `.sync` waits until every lane named in its mask stands at the same instruction with
the same mask, as hardware since compute capability 7.0 does. Lanes that have exited cannot come:
that is a fault, and so is a shuffle that reads a lane which takes no part. Lanes that the block
never had are not waited for.
Source: NVIDIA, PTX ISA 9.0, sections 9.7.9.6 (shfl.sync), 9.7.12 (control flow), 9.7.13 (barriers,
vote, match, redux).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.gpu.ptx.decode import Decoder, Fetch, Handler, Modifiers, Where, pair
from tests.gpu.ptx.errors import UnsupportedPtx
from tests.gpu.ptx.parse import TYPES, Constant, Instruction, Symbol

if TYPE_CHECKING:
    from tests.gpu.ptx.machine import Machine

Control = Callable[["Machine", int, Where], None]
BuildControl = Callable[[Instruction, Decoder, Modifiers], Control]


@dataclass(frozen=True)
class Meeting:
    """The threads that execute a warp-level instruction together.

    threads: int64[thread], sorted; masks: uint32[thread], named lanes that exist; bits:
    uint32[thread], the own lane's; group: int64[thread], equal for threads that met; groups: how
    many there are.
    """

    where: Where
    threads: np.ndarray
    masks: np.ndarray
    bits: np.ndarray
    group: np.ndarray
    groups: int

    def gather_bits(self, flags: Any) -> np.ndarray:
        """For each thread, the lanes of its group whose flag is set: uint32[thread]."""
        collected = np.zeros(self.groups, np.uint32)
        np.bitwise_or.at(collected, self.group, np.where(flags, self.bits, np.uint32(0)))
        return collected[self.group]


def _meet(m: "Machine", pc: int, arriving: Where, mask: Fetch) -> Meeting | None:
    """Who of those arriving, or waiting at `pc`, can go on; the others wait there."""
    where = m.join_parked(pc, arriving)
    threads = m.ids[where]
    lane, warp = m.order.lane[threads], m.order.warp[threads]
    named = np.broadcast_to(np.asarray(mask(m, where), np.uint32), threads.shape)
    bits = np.uint32(1) << lane.astype(np.uint32)
    if not (named & bits).all():
        m.fault("the mask lacks the lane that executes it", where, named & bits == 0)
    masks = named & m.existing_lanes[warp]
    if (named == named[0]).all():
        group = warp - warp[0]
        groups = int(group[-1]) + 1
    else:
        keys, group = np.unique(warp << np.int64(32) | masks, return_inverse=True)
        groups = len(keys)
    meeting = Meeting(where, threads, masks, bits, group, groups)
    ready = meeting.gather_bits(True) == masks
    if ready.all():
        return meeting
    gone = masks & m.exited_lanes[warp] != 0
    if gone.any():
        m.fault("not every lane of the mask takes part: some have exited", where, gone)
    m.park(pc, threads[~ready])
    if not ready.any():
        return None
    keys, group = np.unique(group[ready], return_inverse=True)
    return Meeting(
        m.where(threads[ready]), threads[ready], masks[ready], bits[ready], group, len(keys)
    )


def _meeting(mask: Fetch, act: Callable[["Machine", Meeting], None]) -> Control:
    def run(m: "Machine", pc: int, arriving: Where) -> None:
        meeting = _meet(m, pc, arriving, mask)
        if meeting is not None:
            act(m, meeting)
            m.schedule(pc + 1, meeting.where)

    return run


def _shuffle(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    if not modifiers.has("sync"):
        raise UnsupportedPtx(f"{i.text!r}: only shfl.sync")
    mode = modifiers.take("up", "down", "bfly", "idx")
    modifiers.take("b32")
    modifiers.done()
    first, second = pair(i.operands[0])
    put, put_valid = decoder.store(first, "b32"), decoder.store(second, "pred")
    value = decoder.fetch(i.operands[1], "b32")
    b, c, mask = (decoder.fetch(o, "u32") for o in i.operands[2:5])

    def act(m: "Machine", meeting: Meeting) -> None:
        where, threads = meeting.where, meeting.threads
        lane = m.order.lane[threads]
        source, valid = _source_lane(
            mode, lane, np.asarray(b(m, where), np.int64), np.asarray(c(m, where), np.int64)
        )
        absent = meeting.masks >> source.astype(np.uint32) & np.uint32(1) == 0
        if absent.any():
            who = int(source[np.argmax(absent)])
            m.fault(f"shuffle reads lane {who}, which takes no part", where, absent)
        taken = value(m, threads - lane + source)
        put(m, where, taken)
        put_valid(m, where, valid)

    return _meeting(mask, act)


def _source_lane(
    mode: str, lane: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lane that each lane reads, and whether that one lies in its segment."""
    b, clamp, segment = b & 31, c & 31, c >> 8 & 31
    last = (lane & segment) | (clamp & ~segment)
    if mode == "up":
        source = lane - b
        valid = source >= last
    else:
        target = {"down": lane + b, "bfly": lane ^ b, "idx": (lane & segment) | (b & ~segment)}
        source = target[mode]
        valid = source <= last
    return np.where(valid, source, lane), valid


def _vote(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    if not modifiers.has("sync"):
        raise UnsupportedPtx(f"{i.text!r}: only vote.sync")
    mode = modifiers.take("any", "all", "uni", "ballot")
    kind = modifiers.take("b32" if mode == "ballot" else "pred")
    modifiers.done()
    put = decoder.store(i.operands[0], kind)
    flag, mask = decoder.fetch(i.operands[1], "pred"), decoder.fetch(i.operands[2], "u32")

    def act(m: "Machine", meeting: Meeting) -> None:
        ballot = meeting.gather_bits(flag(m, meeting.where))
        results = {
            "ballot": ballot,
            "any": ballot != 0,
            "all": ballot == meeting.masks,
            "uni": (ballot == 0) | (ballot == meeting.masks),
        }
        put(m, meeting.where, results[mode])

    return _meeting(mask, act)


def _match(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    mode = modifiers.take("any", "all")
    modifiers.take("sync")
    kind = modifiers.take("b32", "b64")
    modifiers.done()
    first, second = pair(i.operands[0])
    put, put_same = decoder.store(first, "b32"), decoder.store(second, "pred")
    value, mask = decoder.fetch(i.operands[1], kind), decoder.fetch(i.operands[2], "u32")

    def act(m: "Machine", meeting: Meeting) -> None:
        values = np.broadcast_to(value(m, meeting.where), meeting.threads.shape)
        _, kinds = np.unique(values, return_inverse=True)
        keys, sets = np.unique(meeting.group * len(values) + kinds, return_inverse=True)
        alike = np.zeros(len(keys), np.uint32)
        np.bitwise_or.at(alike, sets, meeting.bits)
        lanes = alike[sets]
        same = lanes == meeting.masks
        put(m, meeting.where, lanes if mode == "any" else np.where(same, lanes, np.uint32(0)))
        put_same(m, meeting.where, same)

    return _meeting(mask, act)


def _reduce(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    kind = modifiers.type()
    dtype = TYPES[kind]
    modifiers.take("sync")
    limits = np.iinfo(dtype)
    operations: dict[str, tuple[np.ufunc, int]] = {
        "add": (np.add, 0),
        "min": (np.minimum, limits.max),
        "max": (np.maximum, limits.min),
        "and": (np.bitwise_and, limits.max),
        "or": (np.bitwise_or, 0),
        "xor": (np.bitwise_xor, 0),
    }
    function, neutral = operations[modifiers.take(*operations)]
    modifiers.done()
    put = decoder.store(i.operands[0], kind)
    value, mask = decoder.fetch(i.operands[1], kind), decoder.fetch(i.operands[2], "u32")

    def act(m: "Machine", meeting: Meeting) -> None:
        totals = np.full(meeting.groups, neutral, dtype)
        function.at(totals, meeting.group, value(m, meeting.where))
        put(m, meeting.where, totals[meeting.group])

    return _meeting(mask, act)


def _barrier(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    if modifiers.has("warp"):
        modifiers.take("sync")
        modifiers.done()
        mask = decoder.fetch(i.operands[0], "u32")
        return _meeting(
            mask, lambda m, meeting: m.order.warp_barrier(meeting.threads, meeting.masks)
        )
    modifiers.has("cta")
    if modifiers.has("red"):
        return _reducing_barrier(i, decoder, modifiers)
    modifiers.take("sync")
    aligned = modifiers.has("aligned") or i.opcode == "bar"
    modifiers.done()
    name = _barrier_name(i.operands[0])
    expected = decoder.fetch(i.operands[1], "u32") if len(i.operands) > 1 else None

    def run(m: "Machine", pc: int, where: Where) -> None:
        if expected is not None:
            m.require_whole_block(expected(m, where), where)
        m.arrive(name, pc, where, aligned=aligned)

    return run


def _barrier_name(operand: Any) -> int:
    if not isinstance(operand, Constant):
        raise UnsupportedPtx("a barrier whose number is not a literal")
    return operand.value


def _reducing_barrier(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    """bar.red: a barrier that also counts, or joins, one predicate of every thread of the block."""
    mode = modifiers.take("popc", "and", "or")
    kind = modifiers.take("u32" if mode == "popc" else "pred")
    modifiers.has("aligned")
    modifiers.done()
    put = decoder.store(i.operands[0], kind)
    name = _barrier_name(i.operands[1])
    flag = decoder.fetch(i.operands[-1], "pred")
    expected = decoder.fetch(i.operands[2], "u32") if len(i.operands) > 3 else None

    def finish(m: "Machine", threads: np.ndarray) -> None:
        flags = np.broadcast_to(flag(m, threads), threads.shape)
        count = np.bincount(m.order.block[threads], weights=flags)[m.order.block[threads]]
        whole = m.threads_per_block
        results = {"popc": count.astype(np.uint32), "and": count == whole, "or": count > 0}
        put(m, threads, results[mode])

    def run(m: "Machine", pc: int, where: Where) -> None:
        if expected is not None:
            m.require_whole_block(expected(m, where), where)
        m.arrive(name, pc, where, aligned=True, finish=finish)

    return run


def _branch(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    modifiers.has("uni")
    if modifiers.has("idx"):
        modifiers.done()
        return _indexed_branch(i, decoder)
    modifiers.done()
    (target,) = i.operands
    if not isinstance(target, Symbol) or target.name not in decoder.kernel.labels:
        raise UnsupportedPtx(f"{i.text!r}: no such label")
    to = decoder.kernel.labels[target.name]
    return lambda m, pc, where: m.schedule(to, where)


def _indexed_branch(i: Instruction, decoder: Decoder) -> Control:
    index, table = i.operands
    if not isinstance(table, Symbol) or table.name not in decoder.kernel.branch_tables:
        raise UnsupportedPtx(f"{i.text!r}: no such table")
    labels = decoder.kernel.branch_tables[table.name]
    targets = np.array([decoder.kernel.labels[name] for name in labels])
    fetch = decoder.fetch(index, "u32")

    def run(m: "Machine", pc: int, where: Where) -> None:
        threads = m.ids[where]
        chosen = np.broadcast_to(fetch(m, where), threads.shape)
        if (chosen >= len(targets)).any():
            m.fault("branch index beyond its table", where, chosen >= len(targets))
        to = targets[chosen]
        for target in np.unique(to):
            m.schedule(int(target), m.where(threads[to == target]))

    return run


def _exit(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    modifiers.has("uni")
    modifiers.done()
    return lambda m, pc, where: m.retire(where)


def _trap(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Control:
    modifiers.done()
    return lambda m, pc, where: m.fault("trap", where)


CONTROL: dict[str, BuildControl] = {
    "shfl": _shuffle,
    "vote": _vote,
    "match": _match,
    "redux": _reduce,
    "bar": _barrier,
    "barrier": _barrier,
    "bra": _branch,
    "brx": _branch,
    "ret": _exit,
    "exit": _exit,
    "trap": _trap,
}


def _active_mask(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    modifiers.take("b32")
    modifiers.done()
    put = decoder.store(i.operands[0], "b32")

    def run(m: "Machine", where: Where) -> None:
        threads = m.ids[where]
        warp = m.order.warp[threads]
        lanes = np.zeros(len(m.existing_lanes), np.uint32)
        np.bitwise_or.at(lanes, warp, np.uint32(1) << m.order.lane[threads].astype(np.uint32))
        put(m, where, lanes[warp])

    return run


def _fence(i: Instruction, decoder: Decoder, modifiers: Modifiers) -> Handler:
    """Memory here is sequentially consistent; a fence alone orders no two threads' accesses."""
    modifiers.take("proxy", default="")
    if len(modifiers.left) != len(i.modifiers):
        raise UnsupportedPtx(f"{i.text!r}: proxies")
    modifiers.take("sc", "acq_rel", "acquire", "release", default="")
    modifiers.take("cta", "cluster", "gpu", "gl", "sys")
    modifiers.done()
    return lambda m, where: None


SIMPLE: dict[str, Callable[[Instruction, Decoder, Modifiers], Handler]] = {
    "activemask": _active_mask,
    "membar": _fence,
    "fence": _fence,
}
