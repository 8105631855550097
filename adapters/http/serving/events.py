"""Server-sent events: a channel as a stream of text (the HTML standard, section 9.2).

``GET /<channel>`` with ``Accept: text/event-stream``. ``Last-Event-ID``, else ``?after=``, resumes
after an event id (``?after=oldest``: everything retained); ``?group=g`` joins a group. Each event:

    id: 5f3a91c2-17
    data: {"kcal": 42}

``data`` is the payload exactly as it was published when that is text (JSON included); other
payloads come as ``event: base64`` with base64 in ``data``. With ``?format=cloudevents`` each
``data`` is a CloudEvent instead (JSON format, 1.0), with time, type and publisher.
``event: gap`` says with JSON that events are missing here and why; its id can be resumed after.
``event: end`` is the last one and carries a problem document. Delivery is at most once.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from adapters.http.serving.inbound import Inbound
from adapters.http.wire import render
from adapters.http.wire.payloads import json_of, text_of
from gateway.channels import Channels, refuse_subscription
from gateway.cloudevents import attributes
from gateway.exchange import Plane
from gateway.first_use.holding import held
from gateway.message import Call, Event, Refusal, Reply, Status
from gateway.rota import in_slices
from gateway.subscriptions import OLDEST, Gap, Subscription, parse_event_id
from gateway.view import Route
from policy.decision import Decision

HEARTBEAT = 15.0
"""Seconds between comments that keep a stream alive and find out who is gone."""
STUCK = 4
"""Heartbeats during which a client took nothing at all; then it is disconnected."""
HELLO = b"retry: 2000\n\n"
_FIELDS = (b"Cache-Control: no-store\r\n", b"X-Accel-Buffering: no\r\n")
_TYPE = b"text/event-stream"


class Wish(NamedTuple):
    """What a client asks for."""

    after: str
    group: str
    cloudevents: bool


class EventStreams:
    """All open event streams. One timer for all of them; each event is rendered once."""

    def __init__(self, plane: Plane, channels: Channels, heartbeat: float = HEARTBEAT) -> None:
        self._plane = plane
        self._channels = channels
        self._heartbeat = heartbeat
        self._streams: dict[_Stream, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._event: Event | None = None
        self._rendered: dict[tuple[bool, bool], bytes] = {}

    def stream(self, inbound: Inbound, call: Call, route: Route) -> None:
        """Answer a request with the events of a channel, once a first use is decided."""
        waiting = Waiting()

        def go_on(_: Decision) -> None:
            if inbound.relay is waiting and not waiting.gone:
                inbound.relay = None
                self._stream(inbound, call, route)

        try:
            is_held = held(self._plane, call.principal, call.action, route.name, go_on)
        except Refusal as refusal:
            inbound.refuse(refusal)
            return
        if is_held:
            inbound.relay = waiting
        else:
            self._stream(inbound, call, route)

    def _stream(self, inbound: Inbound, call: Call, route: Route) -> None:
        try:
            wish = read_wish(call.query, inbound.head.last_event)
            refusal = refuse_subscription(self._plane, call.principal, route.name, wish.group)
        except ValueError as error:
            refusal = Refusal(Status.BAD_REQUEST, str(error))
        status = Status.OK if refusal is None else refusal.status
        route.meter.observe(call.action, status, 0.0)
        if refusal is not None:
            inbound.refuse(refusal)
            return
        head = Reply(Status.OK, content_type=_TYPE)
        head.fields = [*_FIELDS, inbound.owner.listener.date]
        if inbound.head.verb == b"HEAD":
            inbound.reply(head, b"", end=True)
            return
        stream = _Stream(self, inbound, cloudevents=wish.cloudevents)
        inbound.relay = stream
        inbound.endless = True
        inbound.reply(head, HELLO, end=False)
        self._add(stream)
        stream.begin(
            self._channels.subscribe(
                route, call.principal, stream, after=wish.after, group=wish.group
            )
        )

    def render(self, event: Event, *, cloudevents: bool, chunked: bool) -> bytes:
        """Return an event's bytes on the wire; the last one is kept for the next subscriber."""
        if event is not self._event:
            self._event = event
            self._rendered = {}
        key = (cloudevents, chunked)
        data = self._rendered.get(key)
        if data is None:
            data = cloudevent_block(event) if cloudevents else event_block(event)
            if chunked:
                data = render.chunk(data, end=False)
            self._rendered[key] = data
        return data

    def drain(self) -> None:
        """End all streams, because the site shuts down; clients come back by themselves."""
        refusal = Refusal(Status.UNAVAILABLE, "the site shuts down", retry_after=1)
        for stream in tuple(self._streams):
            stream.end(refusal)

    def remove(self, stream: "_Stream") -> None:
        """Forget a stream that ended."""
        self._streams.pop(stream, None)
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _add(self, stream: "_Stream") -> None:
        self._streams[stream] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._heartbeat, self._beat)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._heartbeat, self._beat)
        in_slices(tuple(self._streams), self._beat_one)

    def _beat_one(self, stream: "_Stream") -> None:
        if stream in self._streams:  # still
            stream.beat()


class Waiting:
    """The relay of a request that waits for a decision."""

    __slots__ = ("gone",)

    def __init__(self) -> None:
        self.gone = False

    def body(self, data: bytes, end: bool) -> None:
        """The payload of a GET means nothing."""

    def cancel(self) -> None:
        """The client is gone."""
        self.gone = True

    def pause_reply(self) -> None:
        """Nothing is on its way."""

    def resume_reply(self) -> None:
        """Nothing is on its way."""


class _Stream:
    """One open stream: a subscriber of the channel, and the relay of its request."""

    __slots__ = (
        "_all",
        "_chunked",
        "_cloudevents",
        "_inbound",
        "_missed",
        "_subscription",
        "_write",
    )

    def __init__(self, streams: EventStreams, inbound: Inbound, *, cloudevents: bool) -> None:
        self._all = streams
        self._inbound = inbound
        self._cloudevents = cloudevents
        self._chunked = not inbound.head.http10
        self._write: Callable[[bytes], None] = inbound.owner.write
        self._subscription: Subscription | None = None
        self._missed = 0

    def begin(self, subscription: Subscription) -> None:
        """Deliver from now on."""
        self._subscription = subscription
        if not self._inbound.owner.write_paused:
            subscription.resume()

    def beat(self) -> None:
        """Show that the stream is alive, unless the client takes nothing."""
        if not self._inbound.owner.write_paused:
            self._missed = 0
            self._write_block(b":\n\n")
            return
        self._missed += 1
        if self._missed >= STUCK:
            self._inbound.abort()

    # The subscriber of the channel

    def deliver(self, event: Event) -> None:
        """Send an event."""
        self._write(self._all.render(event, cloudevents=self._cloudevents, chunked=self._chunked))

    def gap(self, gap: Gap) -> None:
        """Say that events are missing."""
        self._write_block(gap_block(gap))

    def ended(self, refusal: Refusal) -> None:
        """Say why there is nothing more, and finish the answer."""
        self._all.remove(self)
        inbound = self._inbound
        inbound.relay = None
        if inbound.owner.write_paused:  # it would never be read
            inbound.abort()
        else:
            inbound.reply_body(end_block(refusal), end=True)

    def end(self, refusal: Refusal) -> None:
        """End the stream from this side."""
        if self._subscription is not None:
            self._subscription.end(refusal)

    # The relay of the request

    def body(self, data: bytes, end: bool) -> None:
        """The payload of a GET means nothing."""

    def cancel(self) -> None:
        """The client is gone."""
        self._all.remove(self)
        if self._subscription is not None:
            self._subscription.close()

    def pause_reply(self) -> None:
        """The client is slow: events wait in the subscription's queue."""
        if self._subscription is not None:
            self._subscription.pause()

    def resume_reply(self) -> None:
        """The client caught up."""
        self._missed = 0
        if self._subscription is not None:
            self._subscription.resume()

    def _write_block(self, block: bytes) -> None:
        self._write(render.chunk(block, end=False) if self._chunked else block)


def read_wish(query: bytes, last_event: bytes) -> Wish:
    """Read the query and ``Last-Event-ID``; raises ValueError for what cannot be meant.

    The header wins, because a client that reconnects repeats its query but has seen more since.
    It may hold the id of anything, so that it is never refused: an unknown one gives a gap.
    """
    values = parse_qs(
        query.decode("latin-1"), keep_blank_values=True, max_num_fields=32, separator="&"
    )
    after, group, form = (values.get(key, [""])[-1] for key in ("after", "group", "format"))
    if len(group) > 255 or not group.isprintable():
        raise ValueError("group: use at most 255 printable characters")
    if form not in ("", "cloudevents"):
        raise ValueError(
            f"format: {form[:40]!r} is not known here; leave it out or use cloudevents"
        )
    if after and after != OLDEST and parse_event_id(after) is None:
        raise ValueError(f"after: {after[:40]!r} is no event id; use one such as 5f3a91c2-17")
    if after and group:
        raise ValueError("after: a group does not resume, its members share the events")
    resumed = last_event.decode("utf-8", "replace").strip()[:128]
    return Wish("" if group else resumed or after, group, form == "cloudevents")


def event_block(event: Event) -> bytes:
    """Return an event as a block of the stream."""
    text = text_of(event.content_type, event.payload)
    if text is None:
        encoded = b64encode(event.payload)
        return b"id: %b\nevent: base64\ndata: %b\n\n" % (str(event.id).encode(), encoded)
    return b"id: %b\n%b\n" % (str(event.id).encode(), _data(event.payload))


def cloudevent_block(event: Event) -> bytes:
    """Return an event as a block whose data is a CloudEvent in JSON."""
    document = msgspec.json.encode(cloudevent(event))
    return b"id: %b\n%b\n" % (str(event.id).encode(), _data(document))


def cloudevent(event: Event) -> dict[str, object]:
    """Return an event as a CloudEvent (version 1.0, JSON event format)."""
    document: dict[str, object] = {**attributes(event), "principal": event.source}
    if event.content_type:
        document["datacontenttype"] = event.content_type
    embedded = json_of(event.content_type, event.payload)
    text = text_of(event.content_type, event.payload)
    if embedded is not None:
        document["data"] = embedded
    elif text is not None:
        document["data"] = text
    else:
        document["data_base64"] = b64encode(event.payload).decode()
    return document


def gap_block(gap: Gap) -> bytes:
    """Return a gap as a block; resuming after its id does not repeat it."""
    document = {"reason": gap.reason, "after": gap.after, "until": str(gap.until)}
    encoded = msgspec.json.encode({**document, "lost": gap.lost if gap.lost >= 0 else None})
    return b"id: %b\nevent: gap\ndata: %b\n\n" % (str(gap.until).encode(), encoded)


def end_block(refusal: Refusal) -> bytes:
    """Return the end of a stream as a block with a problem document (RFC 9457)."""
    return b"event: end\n%b\n" % _data(render.refusal_document(refusal)[2].strip())


def _data(payload: bytes) -> bytes:
    return b"".join([b"data: %b\n" % line for line in payload.split(b"\n")])
