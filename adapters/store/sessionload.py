"""Stored sessions read back; what fails its checksum is left out."""

import sqlite3
import struct
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


@dataclass(slots=True)
class _Parts:
    key: str
    record: bytes
    messages: list[tuple[int, StoredMessage]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    positions: list[tuple[str, str]] = field(default_factory=list)

    def whole(self) -> StoredSession:
        """Put it together; messages are in the order of their places."""
        self.messages.sort(key=lambda placed: placed[0])
        messages = [message for _, message in self.messages]
        return StoredSession(self.key, self.record, messages, self.marks, self.positions)


def load(connection: sqlite3.Connection) -> Loaded:
    """Read all sessions, in one view of the file."""
    loading = _Loading()
    connection.execute("BEGIN")
    try:
        loading.sessions(connection)
        loading.messages(connection)
        loading.marks(connection)
        loading.positions(connection)
    finally:
        connection.execute("ROLLBACK")
    loading.loaded.sessions += [parts.whole() for parts in loading.found.values()]
    return loading.loaded


class _Loading:
    def __init__(self) -> None:
        self.loaded = Loaded()
        self.found: dict[int, _Parts] = {}

    def sessions(self, connection: sqlite3.Connection) -> None:
        for session, key, record, total in connection.execute(
            "SELECT id, CAST(key AS BLOB), CAST(record AS BLOB), sum FROM sessions ORDER BY id"
        ):
            if _is_sound(session_sum, total, session, key, record):
                self.found[session] = _Parts(text_stored(key), record)
            else:
                self.loaded.damaged_sessions.add(session)
                self.report(f"session {(key or b'').decode(errors='replace')}")

    def messages(self, connection: sqlite3.Connection) -> None:
        bodies = _bodies(connection)
        for row, place, qos, released, shared, own, total in connection.execute(
            "SELECT id, place, qos, released, shared, CAST(body AS BLOB), sum FROM queued"
        ):
            if (parts := self.parts(row >> 16)) is None:
                continue
            packet_id = row & 0xFFFF
            body = bodies.get(shared) if shared else own
            sound = _is_sound(queued_sum, total, row, place, qos, released, shared, own)
            if sound and body is not None:
                message = StoredMessage(packet_id, qos, body, bool(released))
                parts.messages.append((place, message))
            else:
                self.loaded.damaged_messages.append(row)
                self.report(f"message {packet_id} of session {parts.key}")

    def marks(self, connection: sqlite3.Connection) -> None:
        for row, total in connection.execute("SELECT id, sum FROM marks ORDER BY id"):
            if (parts := self.parts(row >> 16)) is None:
                continue
            if _is_sound(mark_sum, total, row):
                parts.marks.append(row & 0xFFFF)
            else:
                self.report(f"QoS 2 mark {row & 0xFFFF} of session {parts.key}")

    def positions(self, connection: sqlite3.Connection) -> None:
        for session, channel, event, total in connection.execute(
            "SELECT session, CAST(channel AS BLOB), CAST(event AS BLOB), sum FROM positions"
        ):
            if (parts := self.parts(session)) is None:
                continue
            if _is_sound(position_sum, total, session, channel, event):
                parts.positions.append((text_stored(channel), text_stored(event)))
            else:
                self.report(f"a position of session {parts.key}")

    def parts(self, session: int) -> _Parts | None:
        """Return the session that a row belongs to; None when that was left out."""
        parts = self.found.get(session)
        if parts is None and session not in self.loaded.damaged_sessions:
            self.loaded.damaged_sessions.add(session)
            self.report(f"session number {session}")
        return parts

    def report(self, what: str) -> None:
        self.loaded.findings.append(f"{what} is damaged and was left out")


def _bodies(connection: sqlite3.Connection) -> dict[int, bytes]:
    rows = connection.execute("SELECT id, CAST(body AS BLOB), sum FROM bodies")
    return {
        number: body for number, body, total in rows if _is_sound(body_sum, total, number, body)
    }


def _is_sound(checksum: Any, total: Any, *values: Any) -> bool:
    """Tell whether values have their checksum; damaged ones may be of any type and size."""
    try:
        return bool(checksum(*values) == total)
    except (TypeError, ValueError, ArithmeticError, struct.error):
        return False
