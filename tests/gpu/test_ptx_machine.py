"""Control flow, barriers, coverage and the reading of PTX texts."""

import numpy as np
import pytest

from tests.gpu.ptx import MachineFault, Memory, PtxError, UnsupportedPtx, launch, parse
from tests.gpu.ptx_texts import HEAD, kernel_of, run

pytestmark = pytest.mark.gpu_check

STORE = "add.s64 %rd9, %rd0, %rd20; st.global.u32 [%rd9], %r9;"


def ints(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint32)


def test_divergent_loops_run_as_often_as_each_thread_asks():
    body = """
        mov.u32 %r5, 0; mov.u32 %r9, 0;
        LOOP: setp.ge.u32 %p1, %r5, %r0; @%p1 bra END; add.u32 %r9, %r9, %r5; add.u32 %r5, %r5, 1;
        bra.uni LOOP;
        END:
    """
    (y,) = run(body + STORE, ints(64), block=64)
    assert y.tolist() == [k * (k - 1) // 2 for k in range(64)]


def test_divergent_threads_meet_again():
    # 32 threads on both sides of a branch: the instructions behind it are issued once, not twice.
    body = (
        "setp.lt.u32 %p1, %r0, 9; @%p1 bra A; mov.u32 %r9, 1; bra.uni B; A: mov.u32 %r9, 2; B:"
        + STORE
    )
    kernel, memory = kernel_of(body, 1), Memory()
    handle = memory.put(ints(32))
    issued = launch(kernel, 1, 32, [handle.pointer], memory)
    assert memory.read(handle).tolist() == [2] * 9 + [1] * 23
    assert issued == len(kernel.instructions)


def test_an_indexed_branch_takes_the_label_of_its_index():
    body = """
        and.b32 %r5, %r0, 3; mov.u32 %r9, 0;
        table: .branchtargets A, B, C, A;
        brx.idx %r5, table;
        A: add.u32 %r9, %r9, 1; B: add.u32 %r9, %r9, 10; C: add.u32 %r9, %r9, 100;
    """
    (y,) = run(body + STORE, ints(8), block=8)
    assert y.tolist() == [111, 110, 100, 111] * 2
    with pytest.raises(MachineFault, match="beyond its table"):
        run(body.replace("%r0, 3", "%r0, 7") + STORE, ints(8), block=8)


def test_an_endless_loop_is_stopped():
    with pytest.raises(MachineFault, match="more than 500 instructions issued: an endless loop"):
        run("LOOP: bra.uni LOOP;", max_steps=500)


def test_a_trap_is_a_fault():
    with pytest.raises(MachineFault, match="trap, thread 3 "):
        run("setp.eq.u32 %p1, %r0, 3; @%p1 trap;")


BARRIER = """
    mov.u64 %rd5, tile; add.s64 %rd6, %rd5, %rd21; st.shared.u32 [%rd6], %r1;
    {} ld.shared.u32 %r9, [tile];
"""
SHARED = ".shared .align 4 .b8 tile[512];\n"


@pytest.mark.parametrize(
    "text",
    ["bar.sync 0;", "barrier.sync 3;", "barrier.cta.sync.aligned 1, 128;", "bar.sync 15, 128;"],
)
def test_every_form_of_a_barrier_orders_the_block(text):
    (y,) = run(BARRIER.format(text) + STORE, ints(256), grid=2, block=128, declarations=SHARED)
    assert y.tolist() == [0] * 256


def test_a_barrier_that_a_thread_never_reaches_is_a_deadlock():
    skip = "setp.eq.u32 %p1, %r0, 70; @%p1 bra END; bar.sync 0; END:"
    with pytest.raises(
        MachineFault, match="deadlock: 1 threads of the block never come to barrier 0"
    ):
        run(skip, block=128)
    with pytest.raises(MachineFault, match="deadlock: 1 threads"):
        run("setp.eq.u32 %p1, %r0, 70; @%p1 ret; bar.sync 0;", block=128)


def test_barriers_with_different_numbers_do_not_meet():
    body = "setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync {}; bra.uni END; A: bar.sync 0; END:"
    run(body.format(0), block=64)
    with pytest.raises(MachineFault, match="deadlock: 32 threads"):
        run(body.format(1), block=64)


def test_lanes_of_one_warp_must_meet_at_the_same_aligned_barrier():
    body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra A; {0} 0; bra.uni END; A: {0} 0; END:"
    run(body.format("barrier.sync"), block=64)
    with pytest.raises(MachineFault, match="different barriers"):
        run(body.format("bar.sync"), block=64)


def test_a_barrier_for_a_part_of_the_block_is_refused():
    with pytest.raises(MachineFault, match="not modelled"):
        run("bar.sync 1, 32;", block=64)


def test_a_barrier_can_count_and_join_predicates():
    body = "setp.lt.u32 %p1, %r0, 70; bar.red.popc.u32 %r9, 0, %p1;"
    (y,) = run(body + STORE, ints(128), grid=2, block=64)
    assert y.tolist() == [64] * 64 + [6] * 64
    body = "setp.lt.u32 %p1, %r0, 70; barrier.cta.red.{}.pred %p2, 0, %p1; selp.u32 %r9, 1, 0, %p2;"
    assert (
        run(body.format("and") + STORE, ints(128), grid=2, block=64)[0].tolist()
        == [1] * 64 + [0] * 64
    )
    assert (
        run(body.format("or") + STORE, ints(192), grid=3, block=64)[0].tolist()
        == [1] * 128 + [0] * 64
    )


def test_fences_change_nothing_and_are_counted():
    kernel = kernel_of("membar.gl; fence.acq_rel.gpu; fence.sc.sys;")
    launch(kernel, 1, 32, [], Memory())
    assert kernel.executed()["membar.gl"] == kernel.executed()["fence.sc.sys"] == 32


def test_coverage_names_what_no_launch_reached():
    body = (
        "setp.eq.u32 %p1, %r0, {}; @%p1 bra FAR; bra.uni END; FAR: mov.u32 %r5, 77; "
        "END: @%p1 mov.u32 %r6, 78;"
    )
    kernel = kernel_of(body.format(40))
    launch(kernel, 1, 32, [], Memory())
    unreached = ["@%p1 bra FAR", "mov.u32 %r5, 77", "@%p1 mov.u32 %r6, 78"]
    assert [text for _, text in kernel.unreached()] == unreached
    assert [kernel.instructions[index].text for index, _ in kernel.unreached()] == unreached
    launch(kernel, 2, 32, [], Memory())
    assert kernel.unreached() == []
    assert kernel.executed()["setp.eq.u32"] == 96


TWO = f"""{HEAD}
.file 1 "somewhere.py"
.visible .entry one(.param .u32 one_0, .param .align 8 .b8 one_1[16]) .maxntid 32, 1, 1 {{
    .reg .b32 %r<4>; .reg .f64 %fd<2>; .reg .b64 %rd<4>;
    .loc 1 3 5
    ld.param.u32 %r1, [one_0];
    ld.param.f64 %fd1, [one_1+8]; // after the first member
    {{ .reg .b32 t; mov.u32 t, %r1; add.u32 t, t, 1; mov.u32 %r2, t; }}
    mov.b64 %rd1, one_1; ld.param.u32 %r3, [%rd1+4];
    cvta.to.global.u64 %rd2, 0;
    exit; }}
/* a function that nobody
   calls */
.func (.param .b32 f_ret) f(.param .b32 f_0) {{ ret; }}
.visible .entry two() {{ ret; }}
.section .debug_str {{ .b8 1, 2 }}
"""


def test_a_text_with_several_kernels_lines_and_scopes_is_read():
    module = parse(TWO)
    assert sorted(module.kernels) == ["one", "two"]
    with pytest.raises(PtxError, match="expected one of"):
        module.kernel()
    assert module.kernel("two") is module.kernel("two")
    kernel = module.kernel("one")
    assert [p.size_bytes for p in kernel.parameters.values()] == [4, 16]
    packed = np.array([(7, 9, 0.5)], "i4, i4, f8").tobytes()
    launch(kernel, 1, 1, [5, packed], Memory())
    assert kernel.unreached() == []


def test_parameters_arrive_in_their_types():
    text = f"""{HEAD}
    .visible .entry k(.param .u8 k_0, .param .f32 k_1, .param .s64 k_2, .param .f64 k_3, .param
    .u64 k_4) {{
        .reg .b16 %rs<2>; .reg .f32 %f<2>; .reg .b64 %rd<3>; .reg .f64 %fd<4>;
        ld.param.u8 %rs1, [k_0]; ld.param.f32 %f1, [k_1]; ld.param.u64 %rd1, [k_2];
        ld.param.f64 %fd1, [k_3];
        ld.param.u64 %rd2, [k_4];
        cvt.f64.f32 %fd2, %f1; add.f64 %fd1, %fd1, %fd2; cvt.rn.f64.s64 %fd2, %rd1;
        add.f64 %fd1, %fd1, %fd2;
        cvt.rn.f64.u16 %fd2, %rs1; add.f64 %fd1, %fd1, %fd2; st.global.f64 [%rd2], %fd1; ret; }}"""
    memory = Memory()
    out = memory.put(np.zeros(1))
    launch(parse(text).kernel(), 1, 1, [True, np.float32(0.5), -4, 0.25, out.pointer], memory)
    assert memory.read(out).tolist() == [1 + 0.5 - 4 + 0.25]


@pytest.mark.parametrize(
    "body",
    ["call.uni f;", "foo.bar %r1, %r2;", "add.s32 %r1, %r2, %nosuch;", "bra NOWHERE;",
     "ld.global.b128 %r1, [%rd0];",
     "st.param.u32 [k_0], %r1;", "setp.lt.s32 %r1, %r2, %r3;", "mov.u64 %rd1, nothing;",
     "cp.async.ca.shared.global [%rd1], [%rd2], 4;"],
)  # fmt: skip
def test_what_is_not_understood_is_refused_before_the_launch(body):
    with pytest.raises(UnsupportedPtx):
        run(body)


def test_a_block_of_more_than_1024_threads_is_refused():
    with pytest.raises(PtxError, match="1 to 1024"):
        run("", block=1025)
