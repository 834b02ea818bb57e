"""Stage 1 of 8: what a venue lists, over HTTP: its questions, their pages, what went wrong."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import aiohttp

from feeds.contract import Listing, ListingKind
from feeds.errors import FrameError
from feeds.links import SessionCounts, SessionPolicy
from feeds.record import Record
from feeds.spots import is_followed, lists_spot_alone, underlyings_with_options
from feeds.venue import HttpRequest, Venue

_JSON_HEADERS: Final = {"Content-Type": "application/json"}
NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)


def words_of(error: Exception) -> str:
    """What went wrong, without the address: that may be signed. A timeout has no words of its own.

    >>> words_of(TimeoutError())
    'TimeoutError'
    """
    if isinstance(error, aiohttp.ClientResponseError):
        return f"status was {error.status}, {error.message}"
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return "is no address"
    return str(error) or type(error).__name__


def _expired(listing: Listing, now_ns: int) -> bool:
    return listing.expiry_ns is not None and listing.expiry_ns <= now_ns


@dataclass(slots=True, eq=False)
class Discoverer:
    """Asks one venue for its instruments.

    Args:
        venue: the venue's module; rest_url says where it is.
        underlyings: which to keep; empty keeps all.
        policy, counts: the session's.
        log: journals a body under a name, without the secrets in it.
        pace: waits for the next place among the venue's requests.
        clean: takes the secrets out of words.
        proxy_headers: what a proxy on the way wants to know.
        spots: whether spot pairs are kept, of the underlyings that have options.

    Attributes:
        problem: what went wrong at the last time of asking, "" if nothing did.
        unread: entries that could not be read then.
    """

    venue: Venue
    rest_url: str
    underlyings: Sequence[str]
    policy: SessionPolicy
    counts: SessionCounts
    _: KW_ONLY
    log: Callable[[str, bytes], Record]
    pace: Callable[[], Awaitable[None]]
    clean: Callable[[str], str]
    proxy_headers: Mapping[str, str] | None = field(default=None, repr=False)
    spots: bool = True
    problem: str = field(init=False, default="")
    unread: list[bytes] = field(init=False, default_factory=list)
    _slips: int = field(init=False, default=0)  # askings in a row with such entries
    # listing -> since when it is missing, where entries cannot be read
    _missing_ns: dict[str, int] = field(init=False, default_factory=dict)

    @property
    def every_s(self) -> float:
        """How long after an asking the venue is asked again by itself.

        Entries that cannot be read may be a slip that is soon mended, and keep listings meanwhile:
        the next asking comes soon, and each one after it twice as late, up to the usual time.
        """
        usual_s = self.policy.discovery_every_s
        if not self._slips:
            return usual_s
        return min(self.policy.unread_again_s * 2.0 ** min(self._slips - 1, 16), usual_s)

    async def ask(self, http: aiohttp.ClientSession) -> tuple[dict[str, Listing], bool]:
        """Fetch all instruments, each once by symbol; the second is False if any of it failed."""
        found: dict[str, Listing] = {}  # An index stands in the answers of all its instruments.
        complete = True
        self.unread = []
        for request in self.venue.discovery(self.underlyings):
            listings = await self._listings(http, request)
            complete &= listings is not None
            found.update((listing.symbol, listing) for listing in listings or ())
        self.counts.discoveries += 1
        if complete:
            self.problem = ""
        if complete and not found:
            # An empty answer would end every subscription; a venue in trouble gives such.
            self._fail(f"{self.venue.NAME}: discovery gave no listings")
            complete = False
        self._slips = self._slips + 1 if self.unread else 0
        if lists_spot_alone(self.venue):
            return found, complete
        with_options = underlyings_with_options(found.values()) if self.spots else ()
        return {s: one for s, one in found.items() if is_followed(one, with_options)}, complete

    def ended(
        self, listings: Mapping[str, Listing], found: Collection[str], now_ns: int
    ) -> list[str]:
        """Those of some listings that are there no more, as the bodies of the last asking say.

        What is missing may be what could not be read. It stays while such an entry holds its name,
        however long: the venue still lists it. Where no entry does, the name may be what cannot be
        read: it stays for `unread_keep_s` and no longer, or one bad entry would keep all others for
        ever. What stands behind a `/` in a name is ours (`BTCUSDT/SPOT`). An index stands in the
        entries of others and stays with them. What has expired ends.
        """
        missing = [symbol for symbol in listings if symbol not in found]
        if not self.unread:
            self._missing_ns = {}
            return missing
        self._missing_ns = {s: self._missing_ns.get(s, now_ns) for s in missing}
        since_ns = now_ns - round(self.policy.unread_keep_s * 1e9)
        texts = {text for entry in self.unread for text in entry.split(b'"')}
        gone = [
            symbol
            for symbol in missing
            if _expired(listings[symbol], now_ns)
            or (
                listings[symbol].kind != ListingKind.INDEX
                and symbol.partition("/")[0].encode() not in texts
                and self._missing_ns[symbol] <= since_ns
            )
        ]
        kept = len(missing) - len(gone)
        if kept:
            self.counts.listings_kept += kept
            self.problem = (
                f"{self.venue.NAME}: instruments that cannot be read: {len(self.unread)}; "
                f"listings kept that may be among them: {kept}"
            )
        return gone

    def _fail(self, problem: str) -> None:
        self.problem = self.clean(problem)
        self.counts.discovery_failures += 1

    async def _listings(
        self, http: aiohttp.ClientSession, request: HttpRequest
    ) -> list[Listing] | None:
        """Listings to keep, over all that one question leads to; None where a page failed."""
        found: list[Listing] = []
        waiting = [request]
        for _ in range(self.policy.discovery_pages_max):
            page = await self._page(http, waiting.pop(0))
            if page is None:
                return None
            found += page[0]
            waiting += page[1]
            if not waiting:
                return found
        pages = self.policy.discovery_pages_max
        self._fail(f"{self.venue.NAME} {request.purpose}: more than {pages} pages")
        return None

    async def _page(
        self, http: aiohttp.ClientSession, request: HttpRequest
    ) -> tuple[list[Listing], list[HttpRequest]] | None:
        """Listings of one body, and the questions that it leads to; None where it failed."""
        body = await self._fetch(http, request)
        if body is None:
            return None
        record = self.log(f"instruments:{request.purpose}", body)
        try:
            discovery = self.venue.instruments(record.payload)
        except FrameError as error:
            self._fail(f"{self.venue.NAME} {request.purpose}: {error}")
            return None
        self.unread += discovery.unread
        listings = [
            listing
            for listing in discovery.listings
            if (not self.underlyings or listing.underlying in self.underlyings)
            and not _expired(listing, record.rx_ns)
        ]
        return listings, [q for q in (discovery.following, *discovery.further) if q is not None]

    async def _fetch(self, http: aiohttp.ClientSession, request: HttpRequest) -> bytes | None:
        await self.pace()
        url = self.rest_url.rstrip("/") + request.path
        timeout = aiohttp.ClientTimeout(total=self.policy.http_s)
        body = bytearray()
        try:
            method, headers = ("GET", None) if request.body is None else ("POST", _JSON_HEADERS)
            async with http.request(
                method,
                url,
                data=request.body,
                headers=headers,
                timeout=timeout,
                proxy_headers=self.proxy_headers,
            ) as response:
                if response.status != 200:
                    self._fail(f"{url}: status was {response.status}, expected 200")
                    return None
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > self.policy.http_bytes_max:
                        self._fail(f"{url}: more than {self.policy.http_bytes_max} bytes")
                        return None
        except NETWORK_ERRORS as error:
            self._fail(f"{url}: {words_of(error)}")
            return None
        return bytes(body)
