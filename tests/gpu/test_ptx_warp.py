"""Instructions in which the lanes of a warp meet."""

import numpy as np
import pytest

from tests.gpu.ptx import MachineFault
from tests.gpu.ptx_texts import run

pytestmark = pytest.mark.gpu_check

STORE = "add.s64 %rd9, %rd0, %rd20; st.global.u32 [%rd9], {};"


def ints(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint32)


def lanes(body: str, register: str = "%r9", block: int = 32, grid: int = 1) -> list[int]:
    """What each thread ends with in a register."""
    (y,) = run(body + STORE.format(register), ints(block * grid), block=block, grid=grid)
    return y.tolist()


def test_shuffles_read_from_the_lane_that_their_direction_says():
    shuffle = "add.u32 %r5, %r0, 100; shfl.sync.{}.b32 %r9|%p1, %r5, {}, {}, -1;"
    down = [100 + (k + 4 if k + 4 <= 31 else k) for k in range(32)]
    assert lanes(shuffle.format("down", 4, 31)) == down
    assert lanes(shuffle.format("up", 4, 0)) == [100 + (k - 4 if k >= 4 else k) for k in range(32)]
    assert lanes(shuffle.format("bfly", 5, 31)) == [100 + (k ^ 5) for k in range(32)]
    assert lanes(shuffle.format("idx", 7, 31)) == [107] * 32


def test_shuffles_stay_in_their_segment():
    # c = (32 - width) << 8 | 31 for down, bfly, idx and (32 - width) << 8 for up; width 8.
    shuffle = "shfl.sync.{}.b32 %r9|%p1, %r0, {}, {}, -1;"
    wide = 24 << 8
    assert lanes(shuffle.format("down", 3, wide | 31)) == [
        k + 3 if k % 8 + 3 < 8 else k for k in range(32)
    ]
    assert lanes(shuffle.format("up", 3, wide)) == [k - 3 if k % 8 >= 3 else k for k in range(32)]
    assert lanes(shuffle.format("idx", 13, wide | 31)) == [k // 8 * 8 + 5 for k in range(32)]
    assert lanes(shuffle.format("bfly", 8, wide | 31)) == [k ^ 8 if k & 8 else k for k in range(32)]


def test_a_shuffle_tells_whether_its_source_lay_in_the_segment():
    body = "shfl.sync.down.b32 %r9|%p1, %r0, 30, 31, -1; selp.u32 %r9, 1, 0, %p1;"
    assert lanes(body) == [1, 1] + [0] * 30


def test_each_warp_of_each_block_shuffles_for_itself():
    got = lanes("shfl.sync.idx.b32 %r9, %r0, 0, 31, -1;", block=64, grid=2)
    assert got == [k // 32 * 32 for k in range(128)]


def test_a_tree_of_shuffles_sums_in_its_fixed_order():
    x = np.random.default_rng(3).standard_normal(32).astype(np.float32)
    body = "add.s64 %rd9, %rd0, %rd20; ld.global.f32 %f1, [%rd9];"
    for distance in (16, 8, 4, 2, 1):
        body += (
            f"mov.b32 %r5, %f1; shfl.sync.down.b32 %r6|%p1, %r5, {distance}, 31, -1; "
            f"mov.b32 %f2, %r6; add.f32 %f1, %f1, %f2;"
        )
    (got,) = run(body + "st.global.f32 [%rd9], %f1;", x)
    tree = x.copy()
    for distance in (16, 8, 4, 2, 1):
        tree = tree[:distance] + tree[distance : 2 * distance]
    assert got[0] == tree[0]


DIVERGENT = "and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0; @%p1 bra DONE; {} DONE:"


@pytest.mark.parametrize(
    "text",
    ["shfl.sync.down.b32 %r9, %r0, 2, 31, {};", "vote.sync.ballot.b32 %r9, %p1, {};",
     "bar.warp.sync {};",
     "match.any.sync.b32 %r9, %r0, {};", "redux.sync.add.s32 %r9, %r0, {};"],
)  # fmt: skip
def test_a_lane_of_the_mask_that_never_comes_is_a_fault(text):
    with pytest.raises(MachineFault, match="not every lane of the mask takes part"):
        run(DIVERGENT.format(text.format(-1)))
    run(DIVERGENT.format(text.format("0xAAAAAAAA")).replace("2, 31", "0, 31"))


def test_a_lane_that_exited_before_a_full_vote_is_a_fault():
    with pytest.raises(MachineFault, match="some have exited"):
        run("setp.eq.u32 %p1, %r0, 3; @%p1 ret; vote.sync.any.pred %p2, %p1, -1;")


def test_a_mask_without_the_executing_lane_is_a_fault():
    with pytest.raises(MachineFault, match="lacks the lane that executes it, thread 31 "):
        run("vote.sync.any.pred %p2, %p1, 0x7FFFFFFF;")


def test_a_shuffle_from_a_lane_outside_the_mask_or_the_block_is_a_fault():
    body = "setp.lt.u32 %p1, %r0, 16; @!%p1 ret; shfl.sync.down.b32 %r9, %r0, {}, 31, 0xFFFF;"
    with pytest.raises(MachineFault, match="reads lane 16, which takes no part, thread 15 "):
        run(body.format(1))
    run(body.format(0))
    with pytest.raises(MachineFault, match="reads lane 8, which takes no part, thread 7 "):
        run("shfl.sync.down.b32 %r9, %r0, 1, 31, -1;", block=8)


def test_lanes_that_a_short_block_lacks_are_not_waited_for():
    assert (
        lanes(
            "vote.sync.ballot.b32 %r9, 1, -1;".replace(" 1,", " %p9,").replace(
                "vote", "setp.ge.u32 %p9, %r0, 0; vote"
            ),
            block=40,
        )
        == [0xFFFFFFFF] * 32 + [0xFF] * 8
    )


def test_lanes_that_took_different_ways_still_meet():
    # The even lanes jump to code behind the shuffle and come back to it.
    body = """
        mov.u32 %r6, 1; and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0; @%p1 bra FAR;
        BACK: shfl.sync.bfly.b32 %r9, %r6, 1, 31, -1; bra.uni END;
        FAR: mov.u32 %r6, 2; bra.uni BACK;
        END:
    """
    assert lanes(body) == [1, 2] * 16


def test_groups_with_masks_of_their_own_vote_apart():
    body = """
        setp.lt.u32 %p1, %r1, 8; selp.b32 %r5, 0xFF, 0xFFFFFF00, %p1; setp.eq.u32 %p2, %r1, 3;
        vote.sync.any.pred %p3, %p2, %r5; selp.u32 %r9, 1, 0, %p3;
    """
    assert lanes(body) == [1] * 8 + [0] * 24


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("lt.u32 %p1, %r1, 40", (1, 1, 1)), ("lt.u32 %p1, %r1, 32", (1, 1, 1)),
     ("eq.u32 %p1, %r1, 3", (1, 0, 0)), ("gt.u32 %p1, %r1, 99", (0, 0, 1))],
)  # fmt: skip
def test_votes_join_the_predicates_of_a_warp(condition, expected):
    for mode, truth in zip(("any", "all", "uni"), expected, strict=True):
        body = f"setp.{condition}; vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %r9, 1, 0, %p2;"
        assert lanes(body) == [truth] * 32
    negated = f"setp.{condition}; vote.sync.all.pred %p2, !%p1, -1; selp.u32 %r9, 1, 0, %p2;"
    assert lanes(negated) == [1 - expected[0]] * 32


def test_a_ballot_has_one_bit_per_lane():
    body = "and.b32 %r5, %r0, 3; setp.eq.u32 %p1, %r5, 2; vote.sync.ballot.b32 %r9, %p1, -1;"
    assert lanes(body, block=64) == [0x44444444] * 64


def test_match_finds_the_lanes_with_the_same_value():
    assert (
        lanes("and.b32 %r5, %r0, 1; match.any.sync.b32 %r9, %r5, -1;")
        == [0x55555555, 0xAAAAAAAA] * 16
    )
    all_ = "match.all.sync.b32 %r9|%p1, {}, -1; selp.u32 %r8, 1, 0, %p1; add.u32 %r9, %r9, %r8;"
    assert lanes(all_.format("%r0")) == [0] * 32
    assert lanes(all_.format("%r2")) == [0] * 32  # 0xFFFFFFFF + 1
    assert lanes(
        "cvt.u64.u32 %rd5, %r0; shl.b64 %rd5, %rd5, 32; match.any.sync.b64 %r9, %rd5, -1;"
    ) == [1 << k for k in range(32)]


def test_redux_reduces_over_the_lanes_of_the_mask():
    value = "sub.s32 %r5, %r1, 3; redux.sync.{} %r9, %r5, -1;"
    assert lanes(value.format("add.s32"), block=32) == [sum(range(-3, 29))] * 32
    assert lanes(value.format("min.s32")) == [2**32 - 3] * 32
    assert lanes(value.format("max.s32")) == [28] * 32
    assert lanes(value.format("max.u32")) == [2**32 - 1] * 32
    assert lanes("redux.sync.and.b32 %r9, %r1, -1;") == [0] * 32
    assert lanes("add.u32 %r5, %r1, 32; redux.sync.and.b32 %r9, %r5, -1;") == [32] * 32
    assert lanes("redux.sync.or.b32 %r9, %r1, -1;") == [31] * 32
    assert lanes("redux.sync.xor.b32 %r9, %r1, 0xFFFFFFFF;") == [0] * 32


def test_the_active_mask_names_the_lanes_that_run_together():
    body = (
        "setp.lt.u32 %p1, %r0, 5; @%p1 bra LOW; activemask.b32 %r9; bra.uni END; "
        "LOW: activemask.b32 %r9; END:"
    )
    assert lanes(body) == [0x1F] * 5 + [0xFFFFFFE0] * 27
