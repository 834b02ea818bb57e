"""Stage 6 of 8: histogram bins, empirical p, and the two combinations."""

from kernels.laws.elementary import INV_PI, LN_2, LOG10_2, atan, cot_pi, log2
from kernels.laws.scalars import f32, i32

ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
BINS_PER_OCTAVE = f32(64)
STRENGTH_BINS = f32(128)
FISHER_BINS = f32(8)
Z_BIN_LAST = 1023
STAGE_2_BIN_LAST = 2047
P_CLIP = f32(0.99)
P_TINY = f32(1e-8)
T_HUGE = f32(1e8)
P_FLOOR = f32(1e-37)


def z_bin(z: float) -> int:
    """Stage-1 bin of |z|: 64 to a doubling of 1 + |z|, 1023 the last.

    >>> int(z_bin(f32(0))), int(z_bin(f32(-1))), int(z_bin(f32(1e6)))
    (0, 64, 1023)

    Source: methods of the project, 7.1 E.
    """
    a = -z if z < ZERO else z
    b = i32(BINS_PER_OCTAVE * log2(ONE + a))
    return b if b < Z_BIN_LAST else i32(Z_BIN_LAST)


def strength_bin(strength: float) -> int:
    """Stage-2 bin of an ACAT strength -log10 p, 128 to a decade.

    >>> int(strength_bin(f32(2))), int(strength_bin(f32(99)))
    (256, 2047)

    Source: docs/SCORING.md, section 4.7.
    """
    b = i32(STRENGTH_BINS * strength)
    return b if b < STAGE_2_BIN_LAST else i32(STAGE_2_BIN_LAST)


def fisher_bin(statistic: float) -> int:
    """Stage-2 bin of a Fisher statistic, 8 to a unit.

    >>> int(fisher_bin(f32(10.2)))
    81

    Source: docs/SCORING.md, section 4.7.
    """
    b = i32(FISHER_BINS * statistic)
    return b if b < STAGE_2_BIN_LAST else i32(STAGE_2_BIN_LAST)


def empirical_p(at_or_above: int, total: int) -> float:
    """Conformal p: the newcomer counts itself, so p is never 0; ties go up.

    >>> round(float(empirical_p(0, 99)), 6)
    0.01

    Source: Vovk, Gammerman and Shafer 2005, conformal p-value.
    """
    return (ONE + f32(at_or_above)) / (ONE + f32(total))


def cauchy_term(p: float) -> float:
    """One p-value's term of the Cauchy combination.

    >>> round(float(cauchy_term(f32(0.25))), 5)
    1.0

    Source: Liu and Xie 2020; p is clipped to 0.99 so that one p near 1 cannot cancel the rest.
    """
    if p < P_TINY:
        return INV_PI / (p if p > P_FLOOR else P_FLOOR)
    return cot_pi(p if p < P_CLIP else P_CLIP)


def cauchy_p(mean_term: float) -> float:
    """Combined p of the Cauchy combination, from the mean of the terms.

    >>> round(float(cauchy_p(f32(1.0))), 6), round(float(cauchy_p(f32(0.0))), 6)
    (0.25, 0.5)

    Source: Liu and Xie 2020, equation 3; beyond 1e8 p = 1 / (pi T).
    """
    if mean_term > T_HUGE:
        return INV_PI / mean_term
    if mean_term > ONE:  # The same angle without the cancellation of 1/2 - atan(T)/pi.
        return atan(ONE / mean_term) * INV_PI
    return HALF - atan(mean_term) * INV_PI


def fisher_term(p: float) -> float:
    """One p-value's term -2 ln p of Fisher's statistic.

    >>> round(float(fisher_term(f32(0.5))), 6)
    1.386294

    Source: Fisher 1932.
    """
    return -TWO * LN_2 * log2(p if p > P_FLOOR else P_FLOOR)


def minus_log10(p: float) -> float:
    """-log10 p, never negative zero or below.

    >>> round(float(minus_log10(f32(0.001))), 6), float(minus_log10(f32(1.0)))
    (3.0, 0.0)

    Source: definition.
    """
    s = -LOG10_2 * log2(p if p > P_FLOOR else P_FLOOR)
    return s if s > ZERO else ZERO
