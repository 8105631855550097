"""The table of conformance: every scenario for every pair of protocols, and where it is moot."""

from collections.abc import Awaitable, Callable, Iterator
from fnmatch import fnmatch
from typing import Any, NamedTuple

from tests.conformance.pairs import calls, events
from tests.conformance.pairs.cells import ENCODED

CLIENTS = ("http", "websocket", "mqtt3", "mqtt5", "coap", "coap-oscore")
PROVIDERS = ("http", "websocket", "mqtt3", "mqtt5", "coap", "outbound")
PUBLISHERS = (*CLIENTS, "broker")
"""The last one publishes to a broker of its own, which the site follows as a channel's source."""
Run = Callable[[Any, str, str], Awaitable[None]]


class Scenario(NamedTuple):
    """What happens, and the methods that it needs registered."""

    run: Run
    methods: tuple[str, ...] = ()
    lasting: bool = False
    """The subscriber is one that can resume (MQTT: its session outlives its connection)."""


CALLS = {
    "call-with-reply": Scenario(calls.call_with_reply, ("echo",)),
    "trace-context": Scenario(calls.trace_context, ("echo",)),
    "encoded-name": Scenario(calls.encoded_name, (ENCODED,)),
    "call-denied": Scenario(calls.call_denied, ("echo",)),
    "unknown-name": Scenario(calls.unknown_name, ("echo",)),
    "provider-gone": Scenario(calls.provider_gone, ("slow",)),
    "provider-vanishes": Scenario(calls.provider_vanishes, ("slow",)),
    "deadline-passed": Scenario(calls.deadline_passed, ("slow",)),
    "deadline-of-the-caller": Scenario(calls.deadline_of_the_caller, ("late",)),
    "payload-too-large": Scenario(calls.payload_too_large, ("echo",)),
    "largest-payload": Scenario(calls.largest_payload, ("echo",)),
    "reply-too-large": Scenario(calls.reply_too_large, ("large", "echo")),
    "binary-payload": Scenario(calls.binary_payload, ("echo",)),
    "empty-payload": Scenario(calls.empty_payload, ("echo",)),
    "concurrent-calls": Scenario(calls.concurrent_calls, ("late",)),
    "providers-error": Scenario(calls.providers_error, ("fail",)),
    "caller-vanishes": Scenario(calls.caller_vanishes, ("slow", "echo")),
    "event-becomes-call": Scenario(calls.event_becomes_call, ("echo",)),
    "reconnect": Scenario(calls.reconnect, ("echo",)),
}
EVENTS = {
    "publish-subscribe": Scenario(events.publish_subscribe),
    "cloudevents-attributes": Scenario(events.cloudevents_attributes),
    "own-attributes": Scenario(events.own_attributes),
    "encoded-name": Scenario(events.encoded_name),
    "publish-denied": Scenario(events.publish_denied),
    "subscribe-denied": Scenario(events.subscribe_denied),
    "policy-withdrawn": Scenario(events.policy_withdrawn),
    "unknown-channel": Scenario(events.unknown_channel),
    "last-value": Scenario(events.last_value),
    "resume": Scenario(events.resume, lasting=True),
    "group-dispatch": Scenario(events.group_dispatch),
    "slow-consumer": Scenario(events.slow_consumer),
    "reconnect": Scenario(events.reconnect),
    "oversize": Scenario(events.oversize),
    "binary-payload": Scenario(events.binary_payload),
    "empty-payload": Scenario(events.empty_payload),
    "concurrent-publications": Scenario(events.concurrent_publications),
}

NOT_APPLICABLE = (
    ("deadline-of-the-caller", "mqtt3", "*", "MQTT 3.1.1 has no message expiry"),
    ("deadline-of-the-caller", "coap*", "*", "a request does not say how long its client waits"),
    ("trace-context", "mqtt3", "*", "MQTT 3.1.1 has no user properties"),
    ("trace-context", "*", "mqtt3", "MQTT 3.1.1 has no user properties"),
    ("cloudevents-attributes", "*", "websocket", "it says the same in members of its own"),
    ("cloudevents-attributes", "*", "mqtt3", "MQTT 3.1.1 has no user properties"),
    ("cloudevents-attributes", "*", "coap*", "CoAP has no options for them"),
    ("own-attributes", "mqtt3", "*", "MQTT 3.1.1 has no user properties"),
    ("own-attributes", "coap*", "*", "CoAP has no options for them"),
    ("own-attributes", "*", "mqtt3", "MQTT 3.1.1 has no user properties"),
    ("own-attributes", "*", "coap*", "CoAP has no options for them"),
    ("publish-denied", "broker", "*", "the broker has accepted it already"),
    ("unknown-channel", "broker", "*", "no channel, no source"),
    ("oversize", "broker", "*", "the broker has accepted it already"),
    ("resume", "*", "coap*", "an observer is promised the newest state, not each (RFC 7641 1.3)"),
    ("slow-consumer", "*", "coap*", "a datagram does not wait for its reader to be ready"),
)
"""Scenario, caller or publisher, provider or subscriber ("*": any), and why there is no test."""


class Cell(NamedTuple):
    """One test of the table."""

    scenario: str
    one: str
    other: str

    def reason(self) -> str:
        """Return why the cell is moot, "" when it is not."""
        for scenario, one, other, why in NOT_APPLICABLE:
            if scenario == self.scenario and fnmatch(self.one, one) and fnmatch(self.other, other):
                return why
        return ""


class Table(NamedTuple):
    """Scenarios for pairs of protocols."""

    scenarios: dict[str, Scenario]
    ones: tuple[str, ...]
    others: tuple[str, ...]

    def cells(self) -> Iterator[Cell]:
        """Yield every cell that is not moot."""
        for scenario in self.scenarios:
            for one in self.ones:
                for other in self.others:
                    cell = Cell(scenario, one, other)
                    if not cell.reason():
                        yield cell

    def fast(self) -> Iterator[Cell]:
        """Yield two cells of each scenario, so that all protocols have their turn on both sides."""
        pairs = [(one, other) for other in self.others for one in self.ones]
        for n, scenario in enumerate(self.scenarios):
            for first in (11 * n, 11 * n + len(pairs) // 2 + 1):
                turned = pairs[first % len(pairs) :] + pairs[: first % len(pairs)]
                table = (Cell(scenario, *pair) for pair in turned)
                yield next(cell for cell in table if not cell.reason())


CALL_TABLE = Table(CALLS, CLIENTS, PROVIDERS)
EVENT_TABLE = Table(EVENTS, PUBLISHERS, CLIENTS)
