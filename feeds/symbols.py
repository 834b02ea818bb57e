"""Stage 2 of 8: listing ids by symbol, as a dict for Python and as a table for compiled code."""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

# A slot is four words: hash, where the text begins in `texts`, its length, and listing id + 2.
SLOT_WORDS: Final = 4
SLOT_FREE: Final = 0
SLOT_GONE: Final = 1  # a symbol was here: whoever looks for another goes on behind it
ID_OFFSET: Final = 2
HASH_FACTOR: Final = 0x9E3779B97F4A7C15
_SLOTS_MIN: Final = 64
_TEXT_BYTES: Final = 64  # room for texts by slot, more than names of instruments need
_WORD: Final = 8
_MASK: Final = 2**64 - 1


class Symbols(dict[str, int]):
    """Listing id of each symbol; keeps a hash table of the same for `feeds.bytescan.names`.

    The table is open-addressed, searched upwards, at most half full. Symbols beyond ASCII are not
    in it: no byte scanner takes such a name.

    Attributes:
        table: address of the slots, mask of a slot's number, address of the texts, until the next
            change.
    """

    table: tuple[np.uint64, ...]

    def __init__(self, ids: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self._rebuild()
        for symbol, listing_id in (ids or {}).items():
            self[symbol] = listing_id

    @classmethod
    def of(cls, ids: Mapping[str, int]) -> Self:
        """The same mapping if it is one, else a copy with a table."""
        return ids if isinstance(ids, cls) else cls(ids)

    def __setitem__(self, symbol: str, listing_id: int) -> None:
        super().__setitem__(symbol, listing_id)
        self._put(symbol, listing_id + ID_OFFSET)

    def __delitem__(self, symbol: str) -> None:
        super().__delitem__(symbol)
        self._put(symbol, SLOT_GONE)

    def _refuse(self, *_args: Any, **_named: Any) -> Any:
        raise NotImplementedError("Symbols changes by item only: the table would miss the rest")

    clear = pop = popitem = setdefault = update = __ior__ = _refuse

    @property
    def areas(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Slots and texts themselves, all that a search may read."""
        return self._slots, self._texts

    def _rebuild(self) -> None:
        """Give everything twice the room it needs; what is gone is left behind."""
        slots = max(_SLOTS_MIN, 1 << (4 * len(self)).bit_length())
        texts = max(slots * _TEXT_BYTES, 4 * sum(map(len, self)))
        self._slots = np.zeros((slots, SLOT_WORDS), np.uint64)
        self._texts = np.zeros(texts + _WORD, np.uint8)
        self.table = tuple(
            np.uint64(word)
            for word in (self._slots.ctypes.data, slots - 1, self._texts.ctypes.data)
        )
        self._taken = 0  # slots that are not free
        self._text_end = 0
        for symbol, listing_id in self.items():
            self._put(symbol, listing_id + ID_OFFSET)

    def _put(self, symbol: str, kept: int) -> None:
        if not symbol.isascii():
            return
        text = symbol.encode()
        key = name_hash(text)
        number = key & (len(self._slots) - 1)
        while self._slots[number, 3] != SLOT_FREE:
            if self._slots[number, 0] == key and self._text_of(number) == text:
                self._slots[number, 3] = kept
                return
            number = (number + 1) & (len(self._slots) - 1)
        end = self._text_end + len(text)
        if 2 * self._taken >= len(self._slots) or end + _WORD > len(self._texts):
            self._rebuild()  # the dict holds this symbol already
            return
        self._texts[self._text_end : end] = np.frombuffer(text, np.uint8)
        self._slots[number] = (key, self._text_end, len(text), kept)
        self._taken += 1
        self._text_end = end

    def _text_of(self, number: int) -> bytes:
        begin, length = self._slots[number, 1:3].tolist()
        return self._texts[begin : begin + length].tobytes()


def name_hash(text: bytes, start: int = 0) -> int:
    """Hash of a name, by words of eight bytes; `feeds.bytescan.names` computes the same.

    Texts of one length and start that differ in one word alone have different hashes, because each
    step can be undone.
    """
    key = (start + len(text)) & _MASK
    for at in range(0, len(text), _WORD):
        key = _mixed(key ^ int.from_bytes(text[at : at + _WORD], "little"))
    return _mixed(key)  # once more: the last characters have not yet reached the low bits


def _mixed(key: int) -> int:
    key = (key * HASH_FACTOR) & _MASK
    return key ^ key >> 32
