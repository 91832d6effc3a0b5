"""The program's own log: structlog on standard error, human on a terminal, JSON elsewhere; libraries' lines too."""

from __future__ import annotations

import logging
import sys

import structlog

QUIET = ("arq", "asyncio", "aiosqlite", "uvicorn", "websockets")


def configure(level: str) -> None:
    """To be called once, by the command."""
    number = getattr(logging, level)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    is_terminal = sys.stderr.isatty()
    # Plain tracebacks: the default ones print the variables of every frame, and with them keys and secrets.
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_terminal
        else structlog.processors.JSONRenderer()
    )
    errors = [] if is_terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *errors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for name in QUIET:
        # At their own level they tell what only their authors need, and uvicorn's lines hold query strings.
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
