"""Stage 1 of 8: what a venue lists, over HTTP: its questions, their pages, what went wrong."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import aiohttp

from feeds.contract import Listing
from feeds.errors import FrameError
from feeds.links import SessionCounts, SessionPolicy
from feeds.record import Record
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

    Attributes:
        problem: what went wrong at the last time of asking, "" if nothing did.
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
    problem: str = field(init=False, default="")

    async def ask(self, http: aiohttp.ClientSession) -> tuple[dict[str, Listing], bool]:
        """Fetch all instruments, each once by symbol; the second is False if any of it failed."""
        found: dict[str, Listing] = {}  # An index stands in the answers of all its instruments.
        complete = True
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
        return found, complete

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
        listings = [
            listing
            for listing in discovery.listings
            if (not self.underlyings or listing.underlying in self.underlyings)
            and (listing.expiry_ns is None or listing.expiry_ns > record.rx_ns)
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
