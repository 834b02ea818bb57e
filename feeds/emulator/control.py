"""Stage 1 of 8, simulated: the emulator's own control, beside the venue's protocol.

    GET  /emulator/status    step, simulated time, counters, faults that struck
    GET  /emulator/books     true books: symbol -> bids, asks, change_id, state; ?symbols=A,B
    GET  /emulator/truth     every planted event
    POST /emulator/plant     {"kind","target","in_s","duration_s","intensity","side"}, or a list;
                             across venues also "against" or "follow_s" (across.py)
    POST /emulator/mark      {"in_s": 0}: plants the demonstration from then on, on all venues
    POST /emulator/fault     a Fault (faults.py), or a list

A request that cannot be read is answered 400 with what was expected.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from feeds.contract import ListingKind
from feeds.emulator.across import PlantRequest, plant, plant_demo
from feeds.emulator.books import ASK, BID
from feeds.emulator.faults import FAULTS_MAX, Fault, Faults
from feeds.emulator.market import Market, side_levels
from feeds.errors import SymbolError
from feeds.events import ListingState

_encode: Final = msgspec.json.Encoder().encode


class MarkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """When the demonstration's minute begins, simulated seconds from now."""

    in_s: float = 0.0


class Controlled(Protocol):
    """What the control needs of a server."""

    market: Market
    peers: Mapping[str, Market]
    faults: Faults
    counters: dict[str, int]


def control_routes(server: Controlled) -> list[web.RouteDef]:
    """Routes of the control."""
    control = _Control(server)
    return [
        web.get("/emulator/status", control.status),
        web.get("/emulator/books", control.books),
        web.get("/emulator/truth", control.truth),
        web.post("/emulator/plant", control.plant),
        web.post("/emulator/mark", control.mark),
        web.post("/emulator/fault", control.fault),
    ]


class _Control:
    """The handlers."""

    def __init__(self, server: Controlled) -> None:
        self._server = server

    async def status(self, _: web.Request) -> web.Response:
        """Where the run stands."""
        market = self._server.market
        return _json(
            {
                "simulated": True,
                "step": market.index,
                "now_ns": market.now_ns,
                "counters": self._server.counters,
                "faults": self._server.faults.struck,
            }
        )

    async def books(self, request: web.Request) -> web.Response:
        """True books of all listed instruments, or of those asked for."""
        market = self._server.market
        asked = request.query.get("symbols")
        names = asked.split(",") if asked else None
        found = {}
        for number, listing in enumerate(market.universe.listings):
            symbol = listing.symbol
            state = ListingState(int(market.state[number]))
            has_book = market.universe.kind[number] != ListingKind.INDEX
            if not has_book or state == ListingState.LISTED:
                continue
            if names is not None and symbol not in names:
                continue
            found[symbol] = {
                "bids": side_levels(market.books, number, BID),
                "asks": side_levels(market.books, number, ASK),
                "change_id": int(market.books.change_id[number]),
                "state": state.name.lower(),
            }
        return _json(found)

    async def truth(self, _: web.Request) -> web.Response:
        """What was planted."""
        return _json(self._server.market.planter.truth)

    async def plant(self, request: web.Request) -> web.Response:
        """Plant events relative to now; all or, where one is refused, those before it."""
        try:
            asked = msgspec.json.decode(
                await request.read(), type=PlantRequest | list[PlantRequest]
            )
            own, peers = self._server.market.universe.profile.venue, self._server.peers
            requests = asked if isinstance(asked, list) else [asked]
            return _json([truth for one in requests for truth in plant(peers, own, one)])
        except (msgspec.DecodeError, SymbolError) as error:
            return _refusal(error)

    async def mark(self, request: web.Request) -> web.Response:
        """Plant the demonstration."""
        body = await request.read()
        try:
            asked = msgspec.json.decode(body or b"{}", type=MarkRequest)
            own = self._server.market.universe.profile.venue
            return _json(plant_demo(self._server.peers, own, asked.in_s))
        except (msgspec.DecodeError, SymbolError) as error:
            return _refusal(error)

    async def fault(self, request: web.Request) -> web.Response:
        """Queue faults; says from which step on they can strike."""
        try:
            asked = msgspec.json.decode(await request.read(), type=Fault | list[Fault])
        except msgspec.DecodeError as error:
            return _refusal(error)
        for one in asked if isinstance(asked, list) else [asked]:
            if not self._server.faults.add(one):
                return _json({"error": f"{FAULTS_MAX} faults are waiting, expected less"}, 429)
        return _json({"from_step": self._server.market.index + 1})


def _refusal(error: Exception) -> web.Response:
    """A request that could not be read or carried out."""
    return _json({"error": str(error)}, 400)


def _json(content: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_encode(content), status=status, content_type="application/json")
