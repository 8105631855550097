"""QoS 1 and 2 from a client: acknowledgements in order, duplicates, marks (method B)."""

from collections import deque
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from adapters.mqtt.sessions.flight import Receipt
from adapters.mqtt.sessions.ports import LATER
from adapters.mqtt.wire.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    V5,
    V311,
    Ack,
    Malformed,
    Publish,
    Reason,
)
from gateway.message import Mark

if TYPE_CHECKING:
    from adapters.mqtt.sessions.session import Session

_ACK = Struct(">BBH").pack
PENDING = 1024
"""Messages of one 3.1.1 client that wait for an acknowledgement; then it is not read from."""


class Incoming:
    """What one client has sent at QoS 1 and 2 and the session has not finished."""

    __slots__ = ("_held", "_order", "_owner", "_quota", "_received")

    def __init__(self, owner: "Session", quota: int) -> None:
        self._owner = owner
        self._quota = quota
        self._held = False
        # Acknowledgements are due in the order of their messages [MQTT-4.6.0-2] [MQTT-4.6.0-3].
        self._order: deque[Receipt] = deque()
        self._received: dict[int, Receipt] = {}

    def publish(self, packet: Publish) -> None:
        """Take a message; raises Malformed when there are too many of them."""
        owner, number, qos = self._owner, packet.packet_id, packet.qos
        if qos == 2:
            known = self._received.get(number)
            if known is not None:
                self._again(known)
                return
        self._count()
        mark = Mark(owner.key, number) if qos == 2 and owner.durable else None
        receipt = Receipt(self, number, qos, mark)
        if qos == 2:
            self._received[number] = receipt
        reason = owner.desk.publish(owner, packet, receipt)
        if receipt.reason == LATER:
            receipt.reason = reason
        if qos == 2:
            if receipt.reason >= Reason.UNSPECIFIED_ERROR:
                self._received.pop(number, None)
            elif receipt.mark is not None:
                self._mark(receipt, receipt.mark)
        if self._order or receipt.reason == LATER or not receipt.stored:
            self._wait(receipt)
        else:
            self._answer(receipt)

    def pubrel(self, packet: Ack) -> None:
        """The client has PUBREC, and will not send the message again."""
        owner, number = self._owner, packet.packet_id
        receipt = self._received.get(number)
        if receipt is None:
            owner.say(Ack(PUBCOMP, number, Reason.PACKET_IDENTIFIER_NOT_FOUND))
        elif not receipt.answered:
            raise Malformed(Reason.PROTOCOL_ERROR, "PUBREL for a message without PUBREC")
        elif owner.durable:
            owner.engine.store.unmark(Mark(owner.key, number))
            owner.engine.disk.after(partial(self._unmarked, receipt, owner.wire))
        else:
            self._complete(receipt)

    def decided(self, receipt: Receipt) -> None:
        """The desk has answered."""
        if receipt.qos == 2 and receipt.reason >= Reason.UNSPECIFIED_ERROR:
            if self._received.get(receipt.packet_id) is receipt:
                del self._received[receipt.packet_id]
            if receipt.marked:
                self._take_back(receipt)
        if receipt.waits:
            self._settle()

    def unsynced(self, receipt: Receipt, why: str) -> bool:
        """Keep a QoS 2 message that was taken, but is not on disk yet; False when it is none.

        The client sends it again, and then it is acknowledged as soon as it is on disk.
        """
        owner = self._owner
        if receipt.qos != 2 or not owner.durable or receipt.reason != LATER:
            return False
        receipt.reason = 0
        receipt.stored = False
        if owner.wire is not None:
            owner.wire.fail(Reason.UNSPECIFIED_ERROR, why)
        return True

    def opened(self, quota: int) -> None:
        """The client is there again: it repeats what was not acknowledged."""
        self._quota = quota
        self._held = False

    def closed(self) -> None:
        """The connection is gone: nothing is acknowledged on the next one unasked."""
        for receipt in self._order:
            receipt.waits = False
        for receipt in self._received.values():
            receipt.counted = False
        self._order.clear()

    def restore(self, packet_id: int) -> None:
        """A QoS 2 message was received before the site restarted."""
        receipt = Receipt(self, packet_id, 2, Mark(self._owner.key, packet_id))
        receipt.reason = 0
        receipt.counted = False
        # It may not have been answered, but then the client sends it again before PUBREL.
        receipt.answered = True
        self._received[packet_id] = receipt

    # Inside

    def _count(self) -> None:
        if self._quota <= 0 and self._owner.version == V5:  # [MQTT-3.3.4-9]
            why = "more messages without an acknowledgement than the Receive Maximum"
            raise Malformed(Reason.RECEIVE_MAXIMUM_EXCEEDED, why)
        self._quota -= 1

    def _again(self, receipt: Receipt) -> None:
        """A message was sent again: acknowledge it, do nothing else [MQTT-4.3.3-10]."""
        if receipt.waits:
            return
        if not receipt.counted:
            self._count()
            receipt.counted = True
        if not receipt.stored:
            self._mark(receipt, Mark(self._owner.key, receipt.packet_id))
        self._wait(receipt)

    def _mark(self, receipt: Receipt, mark: Mark) -> None:
        engine = self._owner.engine
        receipt.marked = True
        receipt.stored = False
        engine.store.mark(mark)
        engine.disk.after(partial(self._marked, receipt, self._owner.wire))

    def _take_back(self, receipt: Receipt) -> None:
        """A message is refused that may have its mark on disk: that must go before the answer.

        Or else, after a crash, the next message with its packet identifier would be taken for it.
        """
        owner = self._owner
        receipt.stored = False
        owner.engine.store.unmark(Mark(owner.key, receipt.packet_id))
        owner.engine.disk.after(partial(self._marked, receipt, owner.wire, refused=True))

    def _marked(self, receipt: Receipt, wire: object, ok: bool, *, refused: bool = False) -> None:
        owner = self._owner
        if refused is not (receipt.reason >= Reason.UNSPECIFIED_ERROR):
            return
        if ok:
            receipt.stored = True
            self._settle()
        elif owner.wire is not None and owner.wire is wire:
            # The client sends it again; here it is known, so that it is not taken twice.
            owner.wire.fail(Reason.UNSPECIFIED_ERROR, "the session could not be written")

    def _unmarked(self, receipt: Receipt, wire: object, ok: bool) -> None:
        owner = self._owner
        if ok:
            if self._received.get(receipt.packet_id) is receipt:
                del self._received[receipt.packet_id]
            if owner.wire is not None and owner.wire is wire:
                self._quota += receipt.counted
                owner.say(Ack(PUBCOMP, receipt.packet_id))
        elif owner.wire is not None and owner.wire is wire:
            owner.wire.fail(Reason.UNSPECIFIED_ERROR, "the session could not be written")

    def _complete(self, receipt: Receipt) -> None:
        del self._received[receipt.packet_id]
        self._quota += receipt.counted
        self._owner.say(Ack(PUBCOMP, receipt.packet_id))

    def _wait(self, receipt: Receipt) -> None:
        receipt.waits = True
        self._order.append(receipt)
        self._settle()
        wire = self._owner.wire
        if len(self._order) >= PENDING and not self._held and wire is not None:
            self._held = True
            wire.hold()

    def _settle(self) -> None:
        """Acknowledge what is due, as far as nothing before it is not."""
        order = self._order
        while order:
            receipt = order[0]
            reason = receipt.reason
            if reason == LATER or not receipt.stored:
                break
            order.popleft()
            receipt.waits = False
            self._answer(receipt)
        wire = self._owner.wire
        if self._held and len(order) * 2 < PENDING and wire is not None:
            self._held = False
            wire.go_on()

    def _answer(self, receipt: Receipt) -> None:
        owner, reason = self._owner, receipt.reason
        refused = reason >= Reason.UNSPECIFIED_ERROR
        if refused and owner.version == V311:
            # There is no way to say it, and no PUBACK for what was not taken.
            if owner.wire is not None:
                owner.wire.fail(reason, receipt.why)
            return
        if receipt.qos == 1:
            self._quota += 1
            kind = PUBACK
        else:
            self._quota += refused
            receipt.answered = True
            kind = PUBREC
        if reason:
            owner.say(Ack(kind, receipt.packet_id, reason, receipt.why))
        elif owner.wire is not None:
            owner.wire.write(_ACK(kind << 4, 2, receipt.packet_id))
