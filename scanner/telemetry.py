"""Stages 1 to 8 of 8: the log on stderr; standard output belongs to results."""

import logging
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import structlog


def set_up_logging(
    level: str = "info", *, as_json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's logging to stderr in one format.

    Args:
        level: debug, info, warning or error.
        as_json: one JSON object a line; None decides by whether the stream is a terminal.
        stream: in place of stderr.

    Raises:
        KeyError: the level is none of the four.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if as_json is None else as_json
    threshold = LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendered(as_json=as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)


LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def _rendered(*, as_json: bool, colors: bool) -> list[structlog.typing.Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Plain tracebacks: rich's show local variables, and a local may hold a secret.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
