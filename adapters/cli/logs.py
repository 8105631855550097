"""What ``hilum serve`` says on standard error while it runs."""

import json
import logging
import time

from adapters.cli.output import printable
from gateway.settings import Log


class TextFormatter(logging.Formatter):
    """A line for people: when, how bad, who, what. Nothing in it reaches the terminal unescaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text; a traceback follows on its own lines."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        line = f"{when} {record.levelname.lower():7} {record.name}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return printable(line, lines=True)


class JsonFormatter(logging.Formatter):
    """A line for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON; ``time`` is Unix time in seconds."""
        document = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document)


def set_up_logging(settings: Log) -> None:
    """Send the program's log to standard error; libraries only speak up from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hilum").setLevel(settings.level.upper())
