"""What ``hilum serve`` says on standard error while it runs."""

import json
import logging
import re
import time

from adapters.cli.output import printable
from gateway.settings import Log

HIDDEN = "(hidden)"
_SECRETS = re.compile(
    r"(hlm_[0-9a-f]{16})_[A-Za-z0-9_-]+"  # a token of ours: its id may be told
    r"|((?i:bearer|basic) +)[A-Za-z0-9._~+/=-]{8,}"
    r"|()eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JWT
)
_USUAL = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}


class TextFormatter(logging.Formatter):
    """A line for people: when, how bad, who, what. Nothing in it reaches the terminal unescaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text; a traceback follows on its own lines."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        line = f"{when} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(hide(line), lines=True)


class JsonFormatter(logging.Formatter):
    """A line for programs.

    ``event`` is the same for all records of one kind, ``fields`` is what differs: the values in
    the order of the message's places, and what was said by name. ``time`` is Unix time in seconds.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        named = {key: _plain(value) for key, value in record.__dict__.items() if key not in _USUAL}
        values = record.args if isinstance(record.args, tuple) else ()
        document = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": hide(str(record.msg)),
            "fields": {"values": [_plain(value) for value in values], **named},
            "message": hide(record.getMessage()),
        }
        if record.exc_info:
            document["exception"] = hide(self.formatException(record.exc_info))
        return json.dumps(document)


def hide(text: str) -> str:
    """Return a text without tokens: nothing should say one, and nothing that does may pass."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or ''}{HIDDEN}", text)


def set_up_logging(settings: Log) -> None:
    """Send the program's log to standard error; libraries only speak up from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hilum").setLevel(settings.level.upper())


def _plain(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    return hide(str(value))
