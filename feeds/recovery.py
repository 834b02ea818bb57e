"""Stage 2 of 8: which listings are coming back after a lost connection, from the log alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

WHOLE_VENUE: Final = ""  # in place of a symbol: a channel of a currency is about every listing
# Twice what a session waits: for logs of versions that did not say when a connection was whole.
RECOVERING_NS_MAX: Final = 120 * 10**9


@dataclass(frozen=True, slots=True)
class RecoveryTurn:
    """A listing begins to recover, or ends to at `rx_ns`, which may be to come."""

    listing_id: int
    rx_ns: int
    begins: bool


class Recovery:
    """Follows which connection carries what, and what a lost one leaves in doubt.

    A listing recovers from the close of a connection that carried any channel about it until the
    log says that this connection is whole again ("recovered"): what it says meanwhile jumps over
    what was not seen. Memory is bounded by the channels asked for since a connection was opened.
    """

    def __init__(self, symbol_of_channel: Callable[[str], str | None]) -> None:
        self._symbol_of = symbol_of_channel
        self._carried: dict[int, set[str]] = {}  # connection -> symbols, since it was opened
        self._lost: dict[int, set[str]] = {}  # connection -> symbols that recover because of it
        self._reopened: set[int] = set()  # of the lost ones, those that are open again

    def carry(self, connection: int, channels: Iterable[str]) -> None:
        """Note channels that were asked for on a connection."""
        carried = self._carried.setdefault(connection, set())
        carried.update(self._symbol_of(channel) or WHOLE_VENUE for channel in channels)

    def give_back(self, connection: int, symbol: str) -> None:
        """Note that a connection carries nothing about a listing any more."""
        self._carried.get(connection, set()).discard(symbol)

    def lose(
        self, connection: int, rx_ns: int, listing_ids: Mapping[str, int]
    ) -> list[RecoveryTurn]:
        """Listings that recover from here, ascending by symbol, those that did already as well.

        Args:
            connection: the one that closed.
            rx_ns: when it did.
            listing_ids: all that are listed now, by symbol.
        """
        carried = self._carried.pop(connection, set())
        names = set(listing_ids) if WHOLE_VENUE in carried else carried
        self._lost.setdefault(connection, set()).update(names)
        self._reopened.discard(connection)
        return _turns(names, rx_ns, listing_ids, begins=True)

    def reopen(
        self, connection: int, rx_ns: int, listing_ids: Mapping[str, int]
    ) -> list[RecoveryTurn]:
        """Listings that recover for RECOVERING_NS_MAX at the most, now that it is open again."""
        self._reopened.add(connection)
        away = [names for lost, names in self._lost.items() if lost not in self._reopened]
        names = self._lost.get(connection, set()).difference(*away)
        return _turns(names, rx_ns + RECOVERING_NS_MAX, listing_ids, begins=False)

    def regain(
        self, connection: int, rx_ns: int, listing_ids: Mapping[str, int]
    ) -> list[RecoveryTurn]:
        """Listings that recover no longer: those that no other connection left in doubt."""
        names = self._lost.pop(connection, set()).difference(*self._lost.values())
        return _turns(names, rx_ns, listing_ids, begins=False)


def _turns(
    names: Iterable[str], rx_ns: int, listing_ids: Mapping[str, int], *, begins: bool
) -> list[RecoveryTurn]:
    known = [name for name in sorted(names) if name in listing_ids]
    return [RecoveryTurn(listing_ids[name], rx_ns, begins) for name in known]
