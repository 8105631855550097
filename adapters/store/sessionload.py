"""Stored sessions read back; what fails its checksum is left out."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters.store.eventfile import body_sum, mark_sum, position_sum, queued_sum, session_sum
from adapters.store.sessionrows import text_stored
from gateway.session_port import StoredMessage, StoredSession


@dataclass(slots=True)
class Loaded:
    """What was found: damaged sessions by their ids, damaged messages by the ids of their rows."""

    sessions: list[StoredSession] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    damaged_sessions: set[int] = field(default_factory=set)
    damaged_messages: list[int] = field(default_factory=list)


def load(connection: sqlite3.Connection) -> Loaded:
    """Read all sessions, in one view of the file."""
    connection.execute("BEGIN")
    try:
        loaded = Loaded()
        keys = _sessions(connection, loaded)
        messages = _messages(connection, loaded, keys)
        marks = _marks(connection, loaded, keys)
        positions = _positions(connection, loaded, keys)
    finally:
        connection.execute("ROLLBACK")
    for session, (key, record) in keys.items():
        waiting = [message for _, message in sorted(messages[session], key=_place)]
        loaded.sessions.append(
            StoredSession(key, record, waiting, marks[session], positions[session])
        )
    return loaded


def _place(queued: tuple[int, StoredMessage]) -> int:
    return queued[0]


def _sessions(connection: sqlite3.Connection, loaded: Loaded) -> dict[int, tuple[str, bytes]]:
    found: dict[int, tuple[str, bytes]] = {}
    for session, key, record, total in connection.execute(
        "SELECT id, CAST(key AS BLOB), CAST(record AS BLOB), sum FROM sessions ORDER BY id"
    ):
        if session_sum(session, key, record) == total:
            found[session] = text_stored(key), record
        else:
            loaded.damaged_sessions.add(session)
            name = key.decode(errors="replace")
            loaded.findings.append(f"session {name} is damaged and was left out")
    return found


def _messages(
    connection: sqlite3.Connection, loaded: Loaded, keys: dict[int, tuple[str, bytes]]
) -> dict[int, list[tuple[int, StoredMessage]]]:
    bodies = _bodies(connection)
    found: dict[int, list[tuple[int, StoredMessage]]] = defaultdict(list)
    for row, place, qos, released, shared, body, total in connection.execute(
        "SELECT id, place, qos, released, shared, CAST(body AS BLOB), sum FROM queued"
    ):
        session, packet_id = row >> 16, row & 0xFFFF
        if session not in keys:
            loaded.damaged_sessions.add(session)
            continue
        whole = bodies.get(shared) if shared else body
        if whole is None or not _is_sound(
            queued_sum, total, row, place, qos, released, shared, body
        ):
            loaded.damaged_messages.append(row)
            key, _ = keys[session]
            loaded.findings.append(f"message {packet_id} of session {key} is damaged: left out")
            continue
        message = StoredMessage(packet_id, qos, whole, bool(released))
        found[session].append((place, message))
    return found


def _bodies(connection: sqlite3.Connection) -> dict[int, bytes]:
    rows: Iterable[tuple[int, bytes, int]] = connection.execute(
        "SELECT id, CAST(body AS BLOB), sum FROM bodies"
    )
    return {number: body for number, body, total in rows if body_sum(number, body) == total}


def _marks(
    connection: sqlite3.Connection, loaded: Loaded, keys: dict[int, tuple[str, bytes]]
) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for row, total in connection.execute("SELECT id, sum FROM marks ORDER BY id"):
        session = row >> 16
        if session not in keys:
            loaded.damaged_sessions.add(session)
        elif mark_sum(row) == total:
            found[session].append(row & 0xFFFF)
        else:
            loaded.findings.append(f"a QoS 2 mark of session {keys[session][0]} is damaged")
    return found


def _positions(
    connection: sqlite3.Connection, loaded: Loaded, keys: dict[int, tuple[str, bytes]]
) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for session, channel, event, total in connection.execute(
        "SELECT session, CAST(channel AS BLOB), CAST(event AS BLOB), sum FROM positions"
    ):
        if session not in keys:
            loaded.damaged_sessions.add(session)
        elif position_sum(session, channel, event) == total:
            found[session].append((text_stored(channel), text_stored(event)))
        else:
            loaded.findings.append(f"a position of session {keys[session][0]} is damaged")
    return found


def _is_sound(checksum: Any, total: int, *values: Any) -> bool:
    """Tell whether values have their checksum; damaged ones may even be too large for one."""
    try:
        return bool(checksum(*values) == total)
    except (TypeError, ValueError, ArithmeticError, OSError):
        return False
