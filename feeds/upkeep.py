"""Stage 1 of 8: a venue's day: when what it lists changes, when it is down on purpose; no I/O."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from feeds.daily import DAY_NS, SECOND_NS, DailyWindow
from feeds.links import SessionPolicy
from feeds.venue import Limits


@dataclass(slots=True)
class Upkeep:
    """Tells a session what the time of day asks of it.

    Soon after each change of listings (`Limits.listing_change_s`, for most venues the expiry at
    08:00 UTC) the instruments are asked for, with jitter: everybody asks then. In the minutes
    before it a part of the connects and of the requests an hour is kept for what will be listed.

    A venue is down on purpose in its windows, and from a notice of it until the venue says that it
    is over or `notice_s` has passed. When that ends, the instruments are asked for.
    """

    limits: Limits
    policy: SessionPolicy
    rng: random.Random
    windows: Sequence[DailyWindow] = ()
    _noticed_until_ns: int = field(init=False, default=0)
    _was_down: bool = field(init=False, default=False)
    _ask_ns: int = field(init=False, default=0)  # 0 = not yet looked at the time

    def notice(self, now_ns: int, *, down: bool) -> None:
        """Heed what the venue said: that it will be down, or that it is back."""
        self._noticed_until_ns = now_ns + round(self.policy.notice_s * SECOND_NS) if down else 0

    def down(self, now_ns: int) -> bool:
        """Whether silence and refusals are what was announced."""
        return now_ns < self._noticed_until_ns or any(w.holds(now_ns) for w in self.windows)

    def asks(self, now_ns: int) -> bool:
        """Whether it is time to ask for the instruments; call it with every look at the clock."""
        down, was_down = self.down(now_ns), self._was_down
        self._was_down = down
        if was_down and not down:
            self._ask_ns = min(self._ask_ns, now_ns + self._jitter_ns())
        due = 0 < self._ask_ns <= now_ns
        if due or not self._ask_ns:
            self._ask_ns = now_ns + self.until_change_ns(now_ns) + self._jitter_ns()
        return due

    def kept_connects(self, now_ns: int) -> int:
        """Connects to a host that are not to be spent now."""
        return self.policy.change_connects if self._before_change(now_ns) else 0

    def kept_requests(self, now_ns: int) -> int:
        """Requests an hour of a connection that resyncs must not spend now."""
        return self.policy.change_requests if self._before_change(now_ns) else 0

    def until_change_ns(self, now_ns: int) -> int:
        """Nanoseconds until the next change, a day at the most and never 0."""
        waits = [DAY_NS - (now_ns - s * SECOND_NS) % DAY_NS for s in self.limits.listing_change_s]
        return min(waits, default=DAY_NS)

    def _before_change(self, now_ns: int) -> bool:
        lead_ns = round(self.policy.change_lead_s * SECOND_NS)
        return self.until_change_ns(now_ns) <= lead_ns

    def _jitter_ns(self) -> int:
        least_s, most_s = self.policy.change_delay_s
        return round(self.rng.uniform(least_s, most_s) * SECOND_NS)
