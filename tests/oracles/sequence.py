"""The sequence rule of one listing, as slow and plain as the words of docs/venues.

Rules of Deribit, and of OKX for chained changes.
"""


class Chain:
    """State of one listing; letters for the kinds: s snapshot, d change, w window, c chained."""

    def __init__(self) -> None:
        self.state = "waiting"
        self.seen: list[int] = []  # numbers that count in the present state

    def accepts(self, kind: str, seq: int, previous: int) -> bool:
        """Judge the next update; a snapshot after "nothing" (0) begins the count anew."""
        if kind == "s" and previous == 0:
            self._live(seq)
            return True
        if self.state == "waiting":
            starts = kind in "sw" or (kind == "d" and previous == 0)
            if starts:
                self._live(seq)
            return starts
        if self.state == "gapped":
            closes = kind in "sw" and all(seq >= old for old in self.seen)
            if closes:
                self._live(seq)
            elif kind in "dc":
                self.seen.append(seq)
            return closes
        return self._accepts_live(kind, seq, previous)

    def _accepts_live(self, kind: str, seq: int, previous: int) -> bool:
        last = self.seen[-1]
        if kind == "w":
            follows, broken = seq >= last, False
        elif kind == "s":
            follows, broken = seq >= last, seq < last
        elif kind == "c":
            follows, broken = previous == last, previous != last
        else:
            follows = seq > last and previous == last
            broken = seq > last and previous != last
        if follows:
            self.seen = [seq]
        if broken:
            self.state = "gapped"
            self.seen.append(seq)
        return follows

    def _live(self, seq: int) -> None:
        self.state, self.seen = "live", [seq]
