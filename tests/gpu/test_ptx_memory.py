"""Memory of the interpreter: what is stored is loaded, and every wrong access is a fault."""

import numpy as np
import pytest

from tests.gpu.ptx import MachineFault, Memory, PtxError, launch, numba_arguments
from tests.gpu.ptx_texts import kernel_of, run

pytestmark = pytest.mark.gpu_check

GLOBAL_TABLES = """
.const .align 4 .b8 table[16] = {0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64};
.global .align 4 .u32 counter = 7;
.global .align 2 .u16 halves[3] = {1, 65535};
"""
SHARED = ".shared .align 4 .b8 tile[256];\n.shared .align 4 .b8 other[256];\n"


def ints(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint32)


def test_vectors_are_loaded_and_stored_in_order():
    body = """
        mul.wide.u32 %rd5, %r0, 16; add.s64 %rd6, %rd0, %rd5; add.s64 %rd7, %rd1, %rd5;
        ld.global.nc.v4.f32 {%f0, %f1, %f2, %f3}, [%rd6];
        st.global.v2.f32 [%rd7], {%f3, %f2}; st.global.v2.f32 [%rd7+8], {%f1, %f0};
    """
    x = np.arange(128, dtype=np.float32)
    _, y = run(body, x, np.zeros(128, np.float32))
    assert y.tolist() == x.reshape(32, 4)[:, ::-1].ravel().tolist()


def test_narrow_loads_extend_by_their_type():
    body = """
        cvt.u64.u32 %rd5, %r0; add.s64 %rd5, %rd0, %rd5; add.s64 %rd6, %rd1, %rd20;
        ld.global.s8 %rs1, [%rd5]; ld.global.u8 %r5, [%rd5]; cvt.s32.s16 %r4, %rs1;
        sub.s32 %r4, %r4, %r5; st.global.u32 [%rd6], %r4;
    """
    _, y = run(body, np.array([5, 0x80, 0xFF], np.uint8), np.zeros(3, np.int32), block=3)
    assert y.tolist() == [0, -256, -256]


def test_narrow_stores_keep_the_low_bits():
    body = (
        "cvt.u64.u32 %rd5, %r0; add.s64 %rd5, %rd0, %rd5; add.u32 %r4, %r0, 0x1F0; "
        "st.global.u8 [%rd5], %r4;"
    )
    (y,) = run(body, np.zeros(3, np.uint8), block=3)
    assert y.tolist() == [0xF0, 0xF1, 0xF2]


def test_tables_of_the_module_have_their_initial_values():
    body = """
        mov.u64 %rd5, table; add.s64 %rd5, %rd5, %rd20; ld.const.f32 %f0, [%rd5];
        ld.global.u16 %rs1, [halves+2]; cvt.rn.f32.u16 %f1, %rs1; add.f32 %f0, %f0, %f1;
        ld.global.u32 %r4, [counter]; cvt.rn.f32.u32 %f1, %r4; add.f32 %f0, %f0, %f1;
        add.s64 %rd6, %rd0, %rd20; st.global.f32 [%rd6], %f0;
    """
    (y,) = run(body, np.zeros(4, np.float32), block=4, before=GLOBAL_TABLES)
    assert y.tolist() == [65535 + 7 + k for k in (1, 2, 3, 4)]


def test_a_module_variable_outlives_the_launch():
    kernel = kernel_of("atom.global.add.u32 %r4, [counter], 1;", before=GLOBAL_TABLES)
    memory = Memory()
    for _ in range(3):
        launch(kernel, 1, 2, [], memory)
    (counter,) = (a for a in memory.space.allocations if a.name == "counter")
    assert counter.view(np.dtype(np.uint32))[0] == 7 + 6


def test_shared_local_and_global_memory_answer_generic_addresses():
    body = """
        mov.u64 %rd5, tile; add.s64 %rd6, %rd5, %rd21; cvta.shared.u64 %rd7, %rd6;
        st.u32 [%rd7], %r0; ld.shared.u32 %r5, [%rd6];
        mov.u64 %rd8, depot; cvta.local.u64 %rd9, %rd8; st.local.u32 [%rd8+4], %r0;
        ld.u32 %r6, [%rd9+4];
        cvta.to.global.u64 %rd10, %rd0; add.s64 %rd10, %rd10, %rd20;
        add.u32 %r5, %r5, %r6; st.u32 [%rd10], %r5;
        cvta.to.shared.u64 %rd11, %rd7; setp.eq.u64 %p1, %rd11, %rd6; @!%p1 trap;
        isspacep.shared %p2, %rd7; @!%p2 trap; isspacep.global %p2, %rd7; @%p2 trap;
    """
    declarations = SHARED + ".local .align 8 .b8 depot[8];\n"
    (y,) = run(body, ints(64), grid=2, block=32, declarations=declarations)
    assert y.tolist() == [2 * k for k in range(64)]


def test_one_generic_access_may_reach_several_allocations():
    body = """
        setp.lt.u32 %p1, %r0, 2; selp.b64 %rd5, %rd0, %rd1, %p1; add.s64 %rd6, %rd5, %rd20;
        ld.u32 %r5, [%rd6]; add.s64 %rd7, %rd2, %rd20; st.u32 [%rd7], %r5;
    """
    a, b = ints(4), ints(4) + 100
    assert run(body, a, b, np.zeros(4, np.uint32), block=4)[2].tolist() == [0, 1, 102, 103]


def test_dynamic_shared_memory_has_the_size_of_the_launch():
    before = ".extern .shared .align 4 .b8 dynamic[];\n"
    body = """
        mov.u64 %rd5, dynamic; add.s64 %rd6, %rd5, %rd21; st.shared.u32 [%rd6], %r0;
        ld.shared.u32 %r5, [%rd6];
        mov.u32 %r6, %dynamic_smem_size; add.u32 %r5, %r5, %r6; add.s64 %rd7, %rd0, %rd20;
        st.global.u32 [%rd7], %r5;
    """
    (y,) = run(body, ints(32), before=before, dynamic_shared=128)
    assert y.tolist() == [k + 128 for k in range(32)]
    with pytest.raises(MachineFault, match=r"0 bytes past the end of 'dynamic'.*thread 31 "):
        run(body, ints(32), before=before, dynamic_shared=124)


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("[%rd6+4]", r"0 bytes past the end of 'array 0' \(128 bytes\), thread 31 "),
        ("[%rd6-4]", r"4 bytes before 'array 0'|at 0x|past the end"),
        ("[%rd20]", "out of bounds: at 0x0, thread 0"),
        ("[%rd6+2]", "misaligned access of 4 bytes, thread 0"),
    ],
)
@pytest.mark.parametrize("access", ["ld.global.u32 %r5, {}", "st.global.u32 {}, %r0"])
def test_an_access_beside_an_array_is_a_fault(access, address, match):
    body = f"add.s64 %rd6, %rd0, %rd20; {access.format(address)};"
    with pytest.raises(MachineFault, match=match):
        run(body, ints(32))


def test_a_fault_names_the_thread_that_makes_it():
    shift = "setp.eq.u32 %p1, %r0, 3; selp.u32 %r5, {}, 0, %p1; cvt.u64.u32 %rd5, %r5;"
    access = "add.s64 %rd6, %rd0, %rd5; ld.global.u32 %r6, [%rd6];"
    with pytest.raises(MachineFault, match="misaligned access of 4 bytes, thread 3 "):
        run(shift.format(2) + access, ints(32))
    with pytest.raises(MachineFault, match=r"72 bytes past the end of .*, thread 3 "):
        run(shift.format(200) + access, ints(32))


def test_the_right_access_is_no_fault():
    run(
        "add.s64 %rd6, %rd0, %rd20; ld.global.u32 %r5, [%rd6]; st.global.u32 [%rd6], %r5;", ints(32)
    )


def test_a_wild_address_between_two_arrays_is_out_of_bounds():
    body = "add.s64 %rd6, %rd0, %rd20; ld.global.u32 %r5, [%rd6+200];"
    with pytest.raises(MachineFault, match="72 bytes past the end of 'array 0'"):
        run(body, ints(32), ints(32))


def test_a_vector_access_must_be_aligned_to_the_vector():
    with pytest.raises(MachineFault, match="misaligned access of 8 bytes"):
        run("ld.global.v2.u32 {%r5, %r6}, [%rd0+4];", ints(32))


def test_a_shared_array_ends_before_the_next_one():
    body = "mov.u64 %rd5, tile; add.s64 %rd6, %rd5, %rd21; st.shared.u32 [%rd6+{}], %r0;"
    run(body.format(128), declarations=SHARED)
    with pytest.raises(MachineFault, match=r"0 bytes past the end of 'tile'.*thread 31 "):
        run(body.format(132), declarations=SHARED)


def test_the_generic_address_of_shared_memory_is_not_its_offset():
    with pytest.raises(MachineFault, match="out of bounds"):
        run("mov.u64 %rd5, tile; st.u32 [%rd5], %r0;", block=1, declarations=SHARED)


STORE_EVEN = """
    and.b32 %r5, %r0, 1; setp.eq.u32 %p1, %r5, 0; add.s64 %rd6, %rd0, %rd20;
    @%p1 st.global.u32 [%rd6], %r0;
"""


def test_a_read_of_memory_nobody_wrote_is_a_fault():
    memory = Memory()
    empty = memory.put(ints(32), init=False, name="scratch")
    kernel = kernel_of(STORE_EVEN + "@%p1 ld.global.u32 %r6, [%rd6];", 1)
    launch(kernel, 1, 32, [empty.pointer], memory)
    assert memory.written(empty).tolist() == [True, False] * 16
    assert memory.read(empty)[:2].tolist() == [0, 0xCDCDCDCD]
    kernel = kernel_of(STORE_EVEN + "ld.global.u32 %r6, [%rd6];", 1)
    with pytest.raises(MachineFault, match="nobody wrote: 'scratch' element 1, thread 1 "):
        launch(kernel, 1, 32, [empty.pointer], memory)


def test_a_word_of_which_one_byte_is_missing_is_unwritten():
    body = (
        "st.global.u8 [%rd0], %r0; st.global.u8 [%rd0+1], %r0; st.global.u8 [%rd0+3], %r0; "
        "ld.global.u32 %r5, [%rd0];"
    )
    memory = Memory()
    empty = memory.put(ints(1), init=False)
    with pytest.raises(MachineFault, match="nobody wrote"):
        launch(kernel_of(body, 1), 1, 1, [empty.pointer], memory)
    launch(kernel_of("st.global.u8 [%rd0+2], %r0;" + body, 1), 1, 1, [empty.pointer], memory)


def test_shared_memory_starts_unwritten_in_every_block():
    body = """
        mov.u64 %rd5, tile; add.s64 %rd6, %rd5, %rd21; setp.lt.u32 %p1, %r2, {};
        @%p1 st.shared.u32 [%rd6], %r0; ld.shared.u32 %r5, [%rd6];
    """
    run(body.format(2), grid=2, declarations=SHARED)
    with pytest.raises(MachineFault, match=r"nobody wrote: 'tile' byte 0, thread 32 \(block 1\)"):
        run(body.format(1), grid=2, declarations=SHARED)


def test_a_write_to_read_only_memory_is_a_fault():
    memory = Memory()
    fixed = memory.put(ints(32), readonly=True, name="prices")
    launch(kernel_of("ld.global.u32 %r5, [%rd0];", 1), 1, 32, [fixed.pointer], memory)
    for text in ("st.global.u32 [%rd0], 1;", "red.global.add.u32 [%rd0], 1;"):
        with pytest.raises(MachineFault, match="read-only 'prices' element 0"):
            launch(kernel_of(text, 1), 1, 1, [fixed.pointer], memory)


ATOMICS = {
    "add.u32": ([5, 0xFFFFFFFF], [5 + 32, 31], "u32"),
    "add.u64": ([5, 2**64 - 1], [37, 31], "u64"),
    "max.s32": ([-5, 7], [7, 7], "s32"),
    "min.s32": ([-5, 7], [-5, 1], "s32"),
    "max.u32": ([1, 0xFFFFFFF0], [7, 0xFFFFFFF0], "u32"),
    "and.b32": ([0xFF, 0], [1, 0], "b32"),
    "or.b32": ([0x10, 0], [0x17, 7], "b32"),
    "xor.b32": ([0x10, 1], [0x10, 1], "b32"),
    "inc.u32": ([0, 7], [0, 7], "u32"),
    "dec.u32": ([0, 7], [0, 7], "u32"),
}


@pytest.mark.parametrize("name", ATOMICS)
def test_atomics_of_many_threads_all_count(name):
    start, expected, kind = ATOMICS[name]
    size = int(kind[1:]) // 8
    dtype = np.dtype(f"{'i' if kind[0] == 's' else 'u'}{size}")
    value = "1" if name.startswith("add") else "7"
    if name.startswith(("min", "and")):
        value = "1"
    # 32 threads, all on element 0 in the first launch and on element 1 in the second.
    got = [
        run(f"red.global.{name} [%rd0+{size * k}], {value};", np.array(start, dtype))[0][k]
        for k in (0, 1)
    ]
    assert [int(v) for v in got] == expected


def test_atomics_return_what_was_there_before():
    body = """
        add.s64 %rd6, %rd1, %rd20; atom.global.add.u32 %r5, [%rd0], %r0; st.global.u32 [%rd6], %r5;
    """
    total, before = run(body, np.array([100], np.uint32), ints(8), block=8)
    assert total.tolist() == [128]
    assert before.tolist() == [100 + sum(range(k)) for k in range(8)]


def test_compare_and_swap_and_exchange_replace():
    body = """
        add.s64 %rd6, %rd1, %rd20; atom.acq_rel.gpu.global.cas.b32 %r5, [%rd0], 5, 9;
        st.global.u32 [%rd6], %r5;
        atom.global.exch.b32 %r6, [%rd0+4], 3;
    """
    cells, seen = run(body, np.array([5, 1], np.uint32), ints(3), block=3)
    assert cells.tolist() == [9, 3]
    assert seen.tolist() == [5, 9, 9]


def test_shared_atomics_count_per_block():
    body = """
        mov.u64 %rd5, tile; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [%rd5], 0; bar.sync 0;
        red.shared.add.u32 [%rd5], %r1; bar.sync 0; ld.shared.u32 %r5, [%rd5];
        add.s64 %rd6, %rd0, %rd20; st.global.u32 [%rd6], %r5;
    """
    (y,) = run(body, ints(96), grid=2, block=48, declarations=SHARED)
    assert y.tolist() == [48 * 47 // 2] * 96


def test_float_atomics_are_a_fault_unless_they_are_asked_for():
    body = "red.global.add.f32 [%rd0], 0f3F800000;"
    with pytest.raises(MachineFault, match="float atomics"):
        run(body, np.zeros(1, np.float32))
    assert run(body, np.zeros(1, np.float32), float_atomics=True)[0].tolist() == [32.0]


def test_arguments_are_flattened_as_numba_does():
    memory = Memory()
    array, scalar = np.zeros((3, 4), np.float32), np.int32(7)
    known = memory.put(np.zeros(5, np.int64))
    flat, handles = numba_arguments(memory, [(scalar, array), 2.5, (known, (1,))])
    pointer = handles[0].pointer
    expected = [7, 0, 0, 12, 4, pointer, 3, 4, 16, 4, 2.5, 0, 0, 5, 8, known.pointer, 5, 8, 1]
    assert flat == expected
    assert handles[1] is known


def test_arguments_must_fit_the_parameters():
    kernel, memory = kernel_of("", 1), Memory()
    for wrong in ([], [1, 2], [1.5], [2**64]):
        with pytest.raises(PtxError, match=r"expected|fit"):
            launch(kernel, 1, 1, wrong, memory)


def test_an_array_can_be_got_by_its_pointer():
    memory = Memory()
    first, second = (memory.put(ints(n)) for n in (3, 5))
    assert memory.get(second.pointer).tolist() == [0, 1, 2, 3, 4]
    assert memory.get(first.pointer).tolist() == [0, 1, 2]
    with pytest.raises(PtxError, match="start of an array"):
        memory.get(first.pointer + 4)
