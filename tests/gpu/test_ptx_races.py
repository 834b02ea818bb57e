"""Races: beside each kernel with a fault stands the same without it, which must be silent."""

import numpy as np
import pytest

from tests.gpu.ptx import MachineFault
from tests.gpu.ptx_texts import run

pytestmark = pytest.mark.gpu_check

SHARED = ".shared .align 4 .b8 tile[512];\n"


def ints(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint32)


# Each thread writes its place and reads the mirrored one: %r6 = 63 - tid in blocks of 64.
MIRROR = """
    mov.u64 %rd5, tile; add.s64 %rd6, %rd5, %rd21; st.shared.u32 [%rd6], %r0; {}
    sub.u32 %r6, 63, %r1; mul.wide.u32 %rd7, %r6, 4; add.s64 %rd8, %rd5, %rd7;
    ld.shared.u32 %r7, [%rd8];
    {}
    add.s64 %rd9, %rd0, %rd20; st.global.u32 [%rd9], %r7;
"""


def test_a_missing_barrier_before_a_read_is_a_race():
    (y,) = run(MIRROR.format("bar.sync 0;", ""), ints(128), grid=2, block=64, declarations=SHARED)
    assert y.tolist() == [*range(63, -1, -1), *range(127, 63, -1)]
    with pytest.raises(
        MachineFault, match=r"race on 'tile' byte 252: reads what thread 63 .* wrote"
    ):
        run(MIRROR.format("", ""), ints(128), grid=2, block=64, declarations=SHARED)


def test_a_missing_barrier_before_the_next_write_is_a_race():
    again = "{} st.shared.u32 [%rd6], %r7;"
    run(
        MIRROR.format("bar.sync 0;", again.format("bar.sync 0;")),
        ints(64),
        block=64,
        declarations=SHARED,
    )
    with pytest.raises(MachineFault, match=r"race .*: writes what thread 63 .* read"):
        run(MIRROR.format("bar.sync 0;", again.format("")), ints(64), block=64, declarations=SHARED)


# The mirror within one warp.
WARP_MIRROR = MIRROR.replace("sub.u32 %r6, 63", "sub.u32 %r6, 31")


def test_lanes_of_one_warp_need_a_warp_barrier():
    (y,) = run(WARP_MIRROR.format("bar.warp.sync -1;", ""), ints(32), declarations=SHARED)
    assert y.tolist() == list(range(31, -1, -1))
    for no_order in (
        "",
        "shfl.sync.idx.b32 %r9, %r0, 0, 31, -1;",
        "vote.sync.any.pred %p1, %p1, -1;",
        "membar.cta;",
    ):
        with pytest.raises(MachineFault, match="race"):
            run(WARP_MIRROR.format(no_order, ""), ints(32), declarations=SHARED)


def test_a_warp_barrier_orders_only_the_lanes_that_it_names():
    halves = """
        setp.lt.u32 %p1, %r1, 16; @%p1 bra LOW; bar.warp.sync 0xFFFF0000; bra.uni DONE;
        LOW: bar.warp.sync 0xFFFF; DONE:
    """
    swap = WARP_MIRROR.replace("sub.u32 %r6, 31, %r1", "xor.b32 %r6, %r1, {}")
    inside = swap.replace("{}", "%%", 1).replace("{}", "1", 1).replace("%%", "{}", 1)
    across = swap.replace("{}", "%%", 1).replace("{}", "16", 1).replace("%%", "{}", 1)
    (y,) = run(inside.format(halves, ""), ints(32), declarations=SHARED)
    assert y.tolist() == [k ^ 1 for k in range(32)]
    with pytest.raises(MachineFault, match="race"):
        run(across.format(halves, ""), ints(32), declarations=SHARED)


def test_a_warp_barrier_does_not_order_two_warps():
    with pytest.raises(MachineFault, match="race"):
        run(MIRROR.format("bar.warp.sync -1;", ""), ints(64), block=64, declarations=SHARED)


def test_a_write_after_many_lanes_read_needs_all_of_them_to_be_ordered():
    # All lanes read element 0, then lane 0 writes it.
    body = """
        mov.u64 %rd5, tile; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [%rd5], 5; bar.sync 0;
        ld.shared.u32 %r5, [%rd5]; {} @%p1 st.shared.u32 [%rd5], 6;
    """
    for block, barrier in ((32, "bar.warp.sync -1;"), (32, "bar.sync 0;"), (64, "bar.sync 0;")):
        run(body.format(barrier), block=block, declarations=SHARED)
    for block, barrier in ((32, ""), (64, ""), (64, "bar.warp.sync -1;")):
        with pytest.raises(MachineFault, match="writes what several"):
            run(body.format(barrier), block=block, declarations=SHARED)


def test_a_reader_that_reads_last_does_not_hide_an_earlier_reader():
    # Thread 1 reads element 0, then thread 0 reads it and writes it.
    body = """
        setp.eq.u32 %p1, %r0, 1; setp.eq.u32 %p2, %r0, 0;
        @%p1 ld.global.u32 %r5, [%rd0]; @%p2 ld.global.u32 %r5, [%rd0];
        @%p2 st.global.u32 [%rd0], 1;
    """
    with pytest.raises(MachineFault, match="writes what several lanes of warp 0 read"):
        run(body, ints(1), block=2)
    run(body.replace("@%p1 ld.global.u32 %r5, [%rd0];", ""), ints(1), block=2)


STENCIL = """
    add.s64 %rd6, %rd0, %rd20; {} ld.global.u32 %r5, [%rd6+4]; {} add.s64 %rd7, %rd1, %rd20;
    st.global.u32 [%rd7], %r5;
"""


def test_reading_what_a_neighbour_writes_is_a_global_race():
    run(STENCIL.format("", ""), ints(65), ints(64), block=64)
    with pytest.raises(MachineFault, match="race on 'array 0' element 1: reads what thread 1 "):
        run(STENCIL.format("st.global.u32 [%rd6], 1;", ""), ints(65), ints(64), block=64)
    with pytest.raises(
        MachineFault, match=r"race on 'array 0' element 1: writes what thread 0 .* read"
    ):
        run(STENCIL.format("", "st.global.u32 [%rd6], 1;"), ints(65), ints(64), block=64)
    run(STENCIL.format("st.global.u32 [%rd6], 1; bar.sync 0;", ""), ints(65), ints(64), block=64)


def test_no_barrier_orders_two_blocks():
    body = STENCIL.format("st.global.u32 [%rd6], 1; bar.sync 0;", "")
    with pytest.raises(MachineFault, match=r"reads what thread 64 \(block 1\) wrote"):
        run(body, ints(129), ints(128), grid=2, block=64)


def test_two_threads_that_write_one_element_race_even_in_one_instruction():
    body = (
        "shr.u32 %r5, %r0, {}; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd6, %rd0, %rd5; "
        "st.global.u32 [%rd6], 1;"
    )
    run(body.format(0), ints(32))
    with pytest.raises(MachineFault, match=r"writes what thread 1 .* wrote"):
        run(body.format(1), ints(32))


def test_neighbouring_bytes_are_not_one_element():
    body = "cvt.u64.u32 %rd5, %r0; add.s64 %rd6, %rd0, %rd5; st.global.u8 [%rd6], %r0;"
    (y,) = run(body, np.zeros(32, np.uint8))
    assert y.tolist() == list(range(32))


def test_atomics_do_not_race_with_each_other_but_with_everything_else():
    first = "setp.eq.u32 %p1, %r0, 0; "
    run("red.global.add.u32 [%rd0], 1; red.global.max.u32 [%rd0], 3;", ints(1), grid=2)
    run("red.global.add.u32 [%rd0], 1; bar.sync 0; ld.global.u32 %r5, [%rd0];", ints(1))
    for other in ("@%p1 ld.global.u32 %r5, [%rd0];", "@%p1 st.global.u32 [%rd0], 1;"):
        with pytest.raises(MachineFault, match=r"what several .* changed atomically"):
            run(f"{first} red.global.add.u32 [%rd0], 1; {other}", ints(1))
        with pytest.raises(MachineFault, match="changes atomically what thread 0 "):
            run(f"{first} {other} red.global.add.u32 [%rd0], 1;", ints(1))


def test_two_launches_are_ordered():
    body = "setp.eq.u32 %p1, %r0, {}; @%p1 st.global.u32 [%rd0], 1;"
    (once,) = run(body.format(0), ints(1))
    assert run(body.format(1), once)[0].tolist() == [1]


def test_strong_accesses_do_not_race_with_each_other():
    strong = (
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.release.gpu.global.u32 [%rd0], 1; "
        "ld.{}global.u32 %r5, [%rd0];"
    )
    run(strong.format("acquire.gpu."), ints(1))
    with pytest.raises(MachineFault, match="race"):
        run(strong.format(""), ints(1))


def test_two_threads_that_write_one_element_in_turn_race():
    body = "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%rd0], 1; @!%p1 st.global.u32 [%rd0], 2;"
    with pytest.raises(MachineFault, match=r"thread 0 .* wrote, unordered, thread 1 "):
        run(body, ints(1), block=2)
    run(body.replace("@!%p1", "bar.sync 0; @!%p1"), ints(1), block=2)


def test_of_two_threads_that_read_in_one_instruction_neither_is_forgotten():
    body = """
        shr.u32 %r5, %r0, 1; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd6, %rd0, %rd5;
        ld.global.u32 %r6, [%rd6]; and.b32 %r7, %r0, 1; setp.eq.u32 %p1, %r7, {};
        {} @%p1 st.global.u32 [%rd6], 1;
    """
    for writer in (0, 1):
        with pytest.raises(MachineFault, match="writes what several lanes of warp 0 read"):
            run(body.format(writer, ""), ints(16))
        run(body.format(writer, "bar.warp.sync -1;"), ints(16))


def test_readers_before_a_barrier_do_not_count_after_it():
    # All read twice; behind the barrier thread 0 alone reads again, and writes.
    body = """
        ld.global.u32 %r5, [%rd0]; ld.global.u32 %r5, [%rd0]; {} setp.eq.u32 %p1, %r0, 0;
        @%p1 ld.global.u32 %r5, [%rd0]; @%p1 st.global.u32 [%rd0], 1;
    """
    run(body.format("bar.sync 0;"), ints(1), block=64)
    with pytest.raises(MachineFault, match="writes what several threads of block 0 read"):
        run(body.format(""), ints(1), block=64)


def test_order_passes_from_lane_to_lane():
    # Lane 0 writes, meets lane 1, which meets lane 2, which reads.
    body = """
        setp.eq.u32 %p1, %r1, 0; @%p1 st.global.u32 [%rd0], 1;
        setp.gt.u32 %p2, %r1, 1; @%p2 bra NEXT; bar.warp.sync {};
        NEXT: sub.u32 %r5, %r1, 1; setp.gt.u32 %p2, %r5, 1; @%p2 bra LAST; bar.warp.sync 6;
        LAST: setp.eq.u32 %p2, %r1, 2; @%p2 ld.global.u32 %r6, [%rd0];
    """
    run(body.format(3), ints(1))
    alone = body.replace("setp.gt.u32 %p2, %r1, 1", "setp.ne.u32 %p2, %r1, 0").format(1)
    with pytest.raises(MachineFault, match="reads what thread 0 "):
        run(alone, ints(1))


def test_meeting_half_of_the_readers_is_not_enough():
    body = """
        ld.global.u32 %r5, [%rd0]; setp.gt.u32 %p1, %r1, 15; @%p1 bra END; bar.warp.sync 0xFFFF;
        setp.eq.u32 %p2, %r1, 0; @%p2 st.global.u32 [%rd0], 1; END:
    """
    with pytest.raises(MachineFault, match="writes what several lanes of warp 0 read"):
        run(body, ints(1))
    run(body, ints(1), block=16)
