"""Whether a listing that the product and the peers' scan do not share is a tie for the last place.

Scores of float32 are a few parts in a million from the peers' float64, so that two listings closer
than that may stand on either side of the last place that is answered. The harness answers with the
best alone; here both are asked for more, so that the score of each listing is seen. Run in the
environment of the peers with the harness on the path; prints one JSON object.
"""

import json
import sys

import scan_spec as spec

LAST = spec.TOP
spec.TOP = LAST + 20  # Before the engines take it over.

import scan_engines  # noqa: E402

from benchmarks.peers.scan import ProductScan  # noqa: E402


def apart(listings: int, seed: int, threads: int) -> dict[str, list[float]]:
    """Of each listing among the best of one alone: how far the peers' score is from their last's.

    Relative to that last score; infinite where the peers' has no such listing among those asked for.
    """
    static, state = spec.make_static(listings, seed), spec.make_state(listings, seed)
    ticks = [spec.make_tick(listings, seed, k) for k in range(2)]
    engines = [make(static, {name: values.copy() for name, values in state.items()}, ticks, threads)
               for make in (scan_engines.ENGINES["numba_1t"], ProductScan)]  # fmt: skip
    for k in (0, 1, 0):
        peer, product = (engine.tick(k) for engine in engines)
    theirs, ours = (list(map(int, answer["idx"])) for answer in (peer, product))
    score = dict(zip(theirs, map(float, peer["score"]), strict=True))
    last = score[theirs[LAST - 1]]
    alone = sorted(set(ours[:LAST]) ^ set(theirs[:LAST]))
    return {"apart": [abs(score.get(listing, float("inf")) - last) / last for listing in alone]}


if __name__ == "__main__":
    print(json.dumps(apart(*map(int, sys.argv[1:]))))
