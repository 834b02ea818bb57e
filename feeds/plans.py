"""Stage 1 of 8: channels cut into requests and connections within a venue's limits; no I/O."""

from collections.abc import Callable, Iterator, Sequence

from feeds.errors import SessionError
from feeds.venue import ConnectionPlan, Limits, Request

# Words a request: its id, its channels -> the request.
Wording = Callable[[int, tuple[str, ...]], Request]


def requests(
    venue: str,
    channels: Sequence[str],
    limits: Limits,
    word: Wording,
    first_id: int,
    *,
    measure: Wording | None = None,
) -> tuple[Request, ...]:
    """Cut channels, in their order, into requests by count and by bytes of text.

    Args:
        venue: its name, for messages.
        channels: no channels need no request.
        limits: of the venue; `channels_per_request` and `request_bytes_max` are obeyed.
        word: words one request. The bytes of its text must grow with its channels one by one.
        first_id: id of the first request; the others are numbered upwards.
        measure: words the same channels at more length; what fits as that fits in either word, so
            that what can be asked for can be given back as well.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    parts = _parts(venue, channels, limits, measure or word)
    return tuple(word(first_id + number, part) for number, part in enumerate(parts))


def connections(
    venue: str,
    channels: Sequence[str],
    limits: Limits,
    word: Wording,
    first_id: int,
    *,
    measure: Wording | None = None,
    path: str = "",
    first_connection: int = 0,
) -> tuple[ConnectionPlan, ...]:
    """Cut channels, in their order, into connections of requests; the ids begin anew in each.

    Raises:
        SessionError: one channel alone is longer than a request may be.
    """
    room = limits.channels_per_connection
    return tuple(
        ConnectionPlan(
            first_connection + number,
            requests(
                venue, channels[begin : begin + room], limits, word, first_id, measure=measure
            ),
            path,
        )
        for number, begin in enumerate(range(0, len(channels), room))
    )


def within(
    venue: str, plans: Sequence[ConnectionPlan], limits: Limits
) -> tuple[ConnectionPlan, ...]:
    """The same plans.

    Raises:
        SessionError: they are more connections than the venue allows.
    """
    if len(plans) > limits.connections_max:
        count = sum(len(plan.channels) for plan in plans)
        raise SessionError(
            f"{venue}: {count} channels need {len(plans)} connections, expected at most "
            f"{limits.connections_max}; ask for fewer underlyings or channels"
        )
    return tuple(plans)


def _parts(
    venue: str, channels: Sequence[str], limits: Limits, word: Wording
) -> Iterator[tuple[str, ...]]:
    # With an id longer than any in use.
    empty = len(word(10**9, ()).text.encode())
    part: list[str] = []
    size = empty
    for channel in channels:
        more = len(word(10**9, (channel,)).text.encode()) - empty + 1  # a comma
        if empty + more > limits.request_bytes_max:
            raise SessionError(
                f"{venue} {channel}: a request for it alone was {empty + more} bytes, expected at "
                f"most {limits.request_bytes_max}"
            )
        if part and (
            len(part) == limits.channels_per_request or size + more > limits.request_bytes_max
        ):
            yield tuple(part)
            part, size = [], empty
        part.append(channel)
        size += more
    if part:
        yield tuple(part)
