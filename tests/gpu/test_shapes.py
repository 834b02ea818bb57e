"""Every launch shape, as compiled for every architecture: no fault, and no more than its budget."""

import pytest

from kernels.compile_cuda import KERNELS, ptx_of
from tests.gpu.budgets import BUDGETS, excess
from tests.gpu.static import CAPABILITIES, faults, measure

pytest.importorskip("numba_cuda", reason="make gpu-check installs the CUDA packages")
pytestmark = pytest.mark.gpu_check


def test_every_shape_has_a_budget():
    assert set(BUDGETS) == set(KERNELS)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("name", list(KERNELS))
def test_a_shape_leaves_nothing_to_compilers_and_keeps_its_budget(name, capability, measured):
    ptx = ptx_of(name, capability)
    measured[name, capability] = measure(ptx, capability)
    budget = BUDGETS[name]
    assert faults(ptx, double_allowed=budget.double > 0) == []
    assert excess(measured[name, capability], budget) == {}
