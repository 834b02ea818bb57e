"""Stage 6 of 8: deterministic top k on unique 64-bit keys, in two launches.

block_top_k: block -> (a share of the rows, one list); keeps its own K_MAX best
top_k:       block -> one list; the best of the blocks' best

Keys that beat the block's k-th best so far gather in shared memory, in whatever order the threads
come; a sort of unique keys forgets that order. After the first rows hardly a key gathers.
"""

import numpy as np
from numba import cuda

from kernels import columns as c
from kernels.arrays import Columns, I64x1, Ranking, Scores, U64x1
from kernels.gpu import words

THREADS = 256
K_MAX = 256
BUFFER = 1024
GATHERED_MAX = BUFFER - K_MAX - THREADS  # Beyond it the next round might not fit.
NO_KEY = np.uint64(0)


def block_top_k(tick: I64x1, columns: Columns, scores: Scores, ranking: Ranking) -> None:
    """Best keys of a block's rows that were observed since the hold time began."""
    buffer = cuda.shared.array(BUFFER, np.uint64)
    gathered = cuda.shared.array(1, np.int32)
    li, t = cuda.blockIdx.y, cuda.threadIdx.x
    begin(buffer, gathered)
    row_count = tick[words.ROW_COUNT]
    first = cuda.blockIdx.x * THREADS
    while first < row_count:
        i = first + t
        key = NO_KEY
        if i < row_count and columns.i64[c.OBSERVED_NS, i] >= tick[words.HOLD_AFTER_NS]:
            key = scores.key[li, i]
        gather(key, tick[words.TOP_K], buffer, gathered)
        first += cuda.gridDim.x * THREADS
    sort_descending(buffer)
    ranking.block_best[li, cuda.blockIdx.x * K_MAX + t] = buffer[t]


def top_k(tick: I64x1, ranking: Ranking) -> None:
    """Best keys of all blocks, descending."""
    buffer = cuda.shared.array(BUFFER, np.uint64)
    gathered = cuda.shared.array(1, np.int32)
    li, t = cuda.blockIdx.x, cuda.threadIdx.x
    begin(buffer, gathered)
    for first in range(0, ranking.block_best.shape[1], THREADS):
        gather(ranking.block_best[li, first + t], tick[words.TOP_K], buffer, gathered)
    sort_descending(buffer)
    ranking.best[li, t] = buffer[t] if t < tick[words.TOP_K] else NO_KEY


def begin(buffer: U64x1, gathered: I64x1) -> None:
    """Clear a block's buffer."""
    for at in range(cuda.threadIdx.x, BUFFER, THREADS):
        buffer[at] = NO_KEY
    if cuda.threadIdx.x == 0:
        gathered[0] = 0
    cuda.syncthreads()


def gather(key: int, k: int, buffer: U64x1, gathered: I64x1) -> None:
    """Take one key a thread; sorts when the next round might not fit."""
    if key > buffer[k - 1]:
        buffer[K_MAX + cuda.atomic.add(gathered, 0, 1)] = key
    cuda.syncthreads()
    full = gathered[0] > GATHERED_MAX
    cuda.syncthreads()
    if full:
        sort_descending(buffer)
        for at in range(K_MAX + cuda.threadIdx.x, BUFFER, THREADS):
            buffer[at] = NO_KEY
        if cuda.threadIdx.x == 0:
            gathered[0] = 0
        cuda.syncthreads()


def sort_descending(buffer: U64x1) -> None:
    """Sort a block's buffer in place (Batcher's bitonic network)."""
    size = 2
    while size <= BUFFER:
        stride = size // 2
        while stride > 0:
            for pair in range(cuda.threadIdx.x, BUFFER // 2, THREADS):
                low = 2 * pair - (pair & (stride - 1))
                high = low + stride
                a, b = buffer[low], buffer[high]
                if (a < b) == ((low & size) == 0):
                    buffer[low], buffer[high] = b, a
            cuda.syncthreads()
            stride //= 2
        size *= 2
