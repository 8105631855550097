"""System calls of a program, as strace wrote them down."""

import re
from collections.abc import Iterator

_CALL = re.compile(
    r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)"
)


def system_calls(trace: str) -> Iterator[tuple[str, str, bool]]:
    """Yield (name, text, finished) of each traced call, begun and finished apart if strace says."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        match = _CALL.match(line)
        if not match:
            continue
        if match["resumed"]:
            yield match["resumed"], begun.pop(match["pid"]) + match["rest"], True
            continue
        yield match["name"], match["rest"], False
        if line.endswith("<unfinished ...>"):
            begun[match["pid"]] = match["rest"]
        else:
            yield match["name"], match["rest"], True
