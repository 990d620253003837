"""Structured logs: one JSON object a line, with what a line is about as fields."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

FIELDS: Final = ("run", "uid", "launch", "reason")
"""Members of a record that say what it is about: `logger.info(..., extra={"run": ...})`."""
QUIET: Final = {
    "kopf": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,
    "kopf._cogs.clients": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}
"""kopf tells each handler's success, that signals do not reach its thread, and each request that it repeats as an error
(our own watches warn of the same outage); access logs tell each report."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _OneLine(logging.Filter):
    """Leaves kopf's errors their message, and spares the reader the place in kopf's code."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("kopf"):
            record.exc_info = record.exc_text = None
        return True


def set_up_logs(*, json_lines: bool, level: str) -> None:
    """Log to stderr from now on."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.addFilter(_OneLine())
    handler.setFormatter(JsonFormatter() if json_lines else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, floor in QUIET.items():
        logging.getLogger(name).setLevel(max(floor, logging.getLogger().level))
