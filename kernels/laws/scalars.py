"""Stage 5 of 8: the scalar types of laws, under names that a type checker takes for plain numbers.

At run time they are numpy's own classes, which compiled code reads as casts. numpy's stubs keep
np.float32 and float apart; a law is one text for both.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsFloat, SupportsInt

import numpy as np

if TYPE_CHECKING:
    f32: Callable[[SupportsFloat], float]
    i32: Callable[[SupportsInt | float], int]
    i64: Callable[[SupportsInt | float], int]
else:
    f32, i32, i64 = np.float32, np.int32, np.int64
