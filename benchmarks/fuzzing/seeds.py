"""Where the search begins: frames and discovery bodies as a venue's emulator sends them."""

import asyncio
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

import aiohttp
import msgspec

from benchmarks.fuzzing.mutate import BYTES_MAX
from benchmarks.venue_frames import SEED, START_NS, ask, listen, tapped
from feeds.contract import Listing
from feeds.emulator.market import Market
from feeds.emulator.profiles import PROFILES
from feeds.emulator.server import VenueServer
from feeds.venue import ChannelOptions, HttpRequest, Pinger, Scanned, Venue
from feeds.venues import VENUES

LISTINGS: Final = 30
STEPS: Final = 1500  # until most venues had prints of options
# Each kind of channel is in one of them.
OPTIONS: Final = tuple(
    ChannelOptions(book=book, quotes=True) for book in ("delta", "window", "none")
)
OF_A_SHAPE: Final = 2  # frames kept of those that have the same keys
FRAMES_MAX: Final = 80
BODIES_MAX: Final = 24
WORD_BYTES_MAX: Final = 48


@dataclass(frozen=True, slots=True)
class Seeds:
    """What is known of a venue before the search.

    frames: as received, one or two of each shape.
    bodies: answers to discovery, with one instrument of each shape where they are lists.
    listings: place = listing id.
    files: the venue's, and what its decoder has from feeds/.
    own: those of them that read what the venue sends.
    words: JSON strings in those files.
    """

    frames: tuple[bytes, ...]
    bodies: tuple[bytes, ...]
    listings: tuple[Listing, ...]
    files: tuple[Path, ...]
    own: tuple[Path, ...]
    words: tuple[bytes, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Listing ids by symbol."""
        return {listing.symbol: number for number, listing in enumerate(self.listings)}


FEEDS: Final = Path(inspect.getfile(Venue)).parent
# What decoders are made of; feeds.sequence and the like come after them.
SHARED: Final = ("columns.py", "contract.py", "grammar.py")
SCANNING: Final = ("grammar.py", "names.py", "quoted.py", "rows.py", "scanner.py")
SESSION: Final = ("plan.py", "sign.py")  # of a venue: few of their lines are about what it sends


def seeds_of(name: str, steps: int = STEPS) -> Seeds:
    """Seeds of a venue, from so many steps of a market that is the same every time."""
    venue = VENUES[name]
    market = Market(SEED, START_NS, LISTINGS, profile=PROFILES[name])
    found: list[bytes] = []
    server = tapped(name, market, lambda _channel, content: found.append(content))
    answers = [answer for options in OPTIONS for answer in listen(server, venue, options)]
    answers += ask(server, venue, (*venue.hello(), *_pings(venue)))
    bodies = asyncio.run(_bodies(server, venue))
    if len(market.universe.listings) > market.universe.public:
        market.list_spare()
    for step in range(steps):
        if step == steps // 2:
            for symbol in _last_dated(market):
                market.expire(symbol)
        server.publish(market.step())
    own = FEEDS / "venues" / name
    if not own.is_dir():  # one platform of several that share a package
        own = Path(inspect.getfile(type(venue))).parent
    files = [*sorted(own.glob("*.py")), *_borrowed(own), *(FEEDS / shared for shared in SHARED)]
    if isinstance(venue, Scanned):
        files += [FEEDS / "bytescan" / shared for shared in SCANNING]
    listings = tuple(market.universe.listings)
    return Seeds(
        frames=_of_each_shape(_short(answers + found), FRAMES_MAX),
        bodies=_of_each_shape([_thinned(body) for body in bodies], BODIES_MAX),
        listings=listings,
        files=tuple(files),
        own=tuple(path for path in files if path.parent == own and path.name not in SESSION),
        words=_words(sorted(own.glob("*.py")), listings),
    )


def _pings(venue: Venue) -> tuple[str, ...]:
    return (venue.ping(),) if isinstance(venue, Pinger) else ()


def _last_dated(market: Market) -> list[str]:
    """The last option or future of those that are listed; spot pairs do not expire."""
    universe = market.universe
    listed = universe.listings[: universe.public]
    return [listing.symbol for listing in listed if listing.expiry_ns is not None][-1:]


def _borrowed(own: Path) -> list[Path]:
    """Files of other venues that a venue's decoder is made of, too."""
    text = (own / "decode.py").read_text()
    found = set(
        re.findall(rf"^from feeds\.venues\.((?!{own.name}\.)\w+\.\w+) import", text, re.MULTILINE)
    )
    return [
        (FEEDS / "venues" / name.replace(".", "/")).with_suffix(".py") for name in sorted(found)
    ]


async def _bodies(server: VenueServer, venue: Venue) -> list[bytes]:
    """All answers to discovery, over a loopback socket."""
    found: list[bytes] = []
    await server.start()
    try:
        url = server.addresses("127.0.0.1")["rest_url"]
        async with aiohttp.ClientSession() as http:
            waiting: list[HttpRequest] = list(venue.discovery(()))
            while waiting and len(found) < 4 * BODIES_MAX:
                asked = waiting.pop(0)
                method = "GET" if asked.body is None else "POST"
                async with http.request(method, url + asked.path, data=asked.body) as response:
                    found.append(await response.read())
                said = venue.instruments(found[-1])
                waiting += [q for q in (said.following, *said.further) if q is not None]
    finally:
        await server.stop()
    return found


def _short(frames: Iterable[bytes]) -> Iterable[bytes]:
    """Frames, those of whole chains thinned where they are too long."""
    for frame in frames:
        yield frame if len(frame) <= BYTES_MAX else _thinned(frame)


def _thinned(body: bytes) -> bytes:
    """A body whose lists of objects have one entry of each shape, so that little is changed twice.

    A `count` of their entries is still one.
    """
    lengths: dict[int, int] = {}  # of lists, before and after
    tree = _counted(_thin(json.loads(body), lengths), lengths)
    return json.dumps(tree, separators=(",", ":")).encode()


def _thin(tree: Any, lengths: dict[int, int]) -> Any:
    if isinstance(tree, dict):
        return {key: _thin(value, lengths) for key, value in tree.items()}
    if not isinstance(tree, list) or not all(isinstance(item, dict) for item in tree):
        return tree
    kept = list({_shape(item): _thin(item, lengths) for item in reversed(tree)}.values())
    lengths[len(tree)] = len(kept)
    return kept


def _counted(tree: Any, lengths: dict[int, int]) -> Any:
    if isinstance(tree, list):
        return [_counted(item, lengths) for item in tree]
    if not isinstance(tree, dict):
        return tree
    changed = {key: _counted(value, lengths) for key, value in tree.items()}
    if changed.get("count") in lengths:
        changed["count"] = lengths[changed["count"]]
    return changed


def _of_each_shape(texts: Iterable[bytes], most: int) -> tuple[bytes, ...]:
    """The shortest and the longest texts of each shape that are no longer than an input may be."""
    by_shape: defaultdict[str, dict[bytes, None]] = defaultdict(dict)
    for text in texts:
        if len(text) <= BYTES_MAX:
            try:
                by_shape[_shape(json.loads(text))][text] = None
            except ValueError:
                by_shape[text.decode(errors="replace")][text] = None
    kept: list[bytes] = []
    for group in by_shape.values():
        ordered = sorted(group, key=len)
        kept += dict.fromkeys((*ordered[: OF_A_SHAPE - 1], ordered[-1]))
    return tuple(kept[:most])


def _shape(tree: Any) -> str:
    """Keys and kinds of a JSON value, of lists those of the first entry; names as keys do not count."""
    if isinstance(tree, dict):
        inner = ",".join(
            f"{key if key.isidentifier() else '*'}:{_shape(value)}" for key, value in tree.items()
        )
        return f"{{{inner}}}"
    if isinstance(tree, list):
        return f"[{_shape(tree[0])}]" if tree else "[]"
    return type(tree).__name__


def _words(files: Iterable[Path], listings: tuple[Listing, ...]) -> tuple[bytes, ...]:
    """Texts that stand in the decoder's files, and a few symbols, as JSON strings."""
    words: dict[str, None] = dict.fromkeys(listing.symbol for listing in listings[:3])
    for path in files:
        for text in _texts(compile(path.read_text(), str(path), "exec")):
            if len(text.encode()) <= WORD_BYTES_MAX and not (
                " " in text or text.startswith("feeds")
            ):
                words[text] = None
    return tuple(msgspec.json.encode(word) for word in words)


def _texts(code: CodeType, *, in_class: bool = False) -> Iterable[str]:
    """Constants of code and of what it defines; of a class the names, too: fields of messages."""
    if in_class:
        yield from code.co_names
    waiting: list[Any] = list(code.co_consts)
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, CodeType):
            yield from _texts(item, in_class=not item.co_flags & inspect.CO_OPTIMIZED)
        elif isinstance(item, (str, bytes)):
            yield item if isinstance(item, str) else item.decode(errors="replace")
        elif isinstance(item, (tuple, frozenset)):
            waiting += sorted(item, key=str)
