"""Durable sessions as records of the SessionStore: their subscriptions and their wills."""

from msgspec import Struct, msgpack

from adapters.mqtt.desk.joining import Client, Entry
from adapters.mqtt.wire.packets import Attributes, Filter, Will


class Subscribed(Struct, array_like=True, omit_defaults=True):
    """One subscription: a filter with its options, its identifier, and what it offers."""

    filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    id: int = 0
    said: Attributes = ()


class Record(Struct, omit_defaults=True):
    """A session as it is stored; ``left`` is when its client went (Unix seconds; 0: it is there).

    ``will_at`` is when the will is due, 0 when that depends on when the client goes.
    """

    client_id: str
    principal: str
    kind: str
    version: int
    expiry: int
    left: float = 0.0
    will_at: float = 0.0
    will: Will | None = None
    subscriptions: list[Subscribed] = []


_decode = msgpack.Decoder(Record).decode
_encode = msgpack.Encoder().encode


def record_of(client: Client, left: float = 0.0) -> bytes:
    """Return a session's record."""
    session = client.session
    will_at = 0.0 if client.leaving is None else client.leaving.will_at
    return _encode(
        Record(
            session.client_id,
            session.principal.id,
            session.principal.kind,
            session.version,
            session.expiry,
            left,
            will_at,
            client.will,
            [_subscribed(entry) for entry in client.entries.values()],
        )
    )


def read_record(data: bytes) -> Record:
    """Read a record; raises msgspec.MsgspecError."""
    return _decode(data)


def add_entries(client: Client, record: Record) -> None:
    """Give a session the subscriptions of its record; they are not open yet."""
    for one in record.subscriptions:
        options = Filter(
            one.filter, one.qos, one.no_local, one.retain_as_published, one.retain_handling
        )
        entry = client.entries[one.filter] = Entry(client, options, one.id)
        entry.said = one.said
        entry.fresh = False


def _subscribed(entry: Entry) -> Subscribed:
    options = entry.options
    return Subscribed(
        options.filter,
        options.qos,
        options.no_local,
        options.retain_as_published,
        options.retain_handling,
        entry.id,
        entry.said,
    )
