"""The gateway's stores in SQLite files: the change log and the event log of durable channels."""

from adapters.store.changelog import SqliteStore, open_store
from adapters.store.eventlog import SqliteEventLog, open_event_log

__all__ = ["SqliteEventLog", "SqliteStore", "open_event_log", "open_store"]
