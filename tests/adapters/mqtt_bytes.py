"""MQTT packets by hand, right and wrong ones: what a client sends; and what matches what."""


def variable(number: int) -> bytes:
    out = bytearray()
    while True:
        number, byte = divmod(number, 128)
        out.append(byte | 0x80 if number else byte)
        if not number:
            return bytes(out)


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return len(raw).to_bytes(2, "big") + raw


def packet(first: int, *body: bytes) -> bytes:
    whole = b"".join(body)
    return bytes([first]) + variable(len(whole)) + whole


def properties(*parts: bytes) -> bytes:
    whole = b"".join(parts)
    return variable(len(whole)) + whole


def user(key: str | bytes, value: str | bytes) -> bytes:
    return b"\x26" + string(key) + string(value)


def number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def connect(
    client: str | bytes = "c",
    version: int = 5,
    *,
    flags: int = 2,
    keep: int = 60,
    props: bytes = b"",
    payload: bytes = b"",
    name: str = "MQTT",
    first: int = 0x10,
) -> bytes:
    """``payload`` is what follows the client identifier."""
    said = properties(props) if version >= 5 else b""
    head = string(name) + bytes([version, flags]) + number(keep)
    return packet(first, head, said, string(client), payload)


def publish(
    topic: str | bytes = "a/b",
    payload: bytes = b"x",
    version: int = 5,
    *,
    first: int = 0x30,
    pid: int | None = None,
    props: bytes = b"",
) -> bytes:
    said = properties(props) if version >= 5 else b""
    numbered = b"" if pid is None else number(pid)
    return packet(first, string(topic), numbered, said, payload)


def subscribe(
    *filters: tuple[str | bytes, int],
    version: int = 5,
    pid: int = 1,
    props: bytes = b"",
    first: int = 0x82,
) -> bytes:
    said = properties(props) if version >= 5 else b""
    wanted = b"".join(string(text) + bytes([options]) for text, options in filters)
    return packet(first, number(pid), said, wanted)


def unsubscribe(
    *filters: str | bytes, version: int = 5, pid: int = 1, props: bytes = b"", first: int = 0xA2
) -> bytes:
    said = properties(props) if version >= 5 else b""
    return packet(first, number(pid), said, *map(string, filters))


def ack(first: int, pid: int = 1, rest: bytes = b"") -> bytes:
    return packet(first, number(pid), rest)


PINGREQ = b"\xc0\0"
DISCONNECT = b"\xe0\0"


def matches(text: str, topic: str) -> bool:
    """Return whether a filter matches a topic; no leading wildcard matches ``$`` [MQTT-4.7.2-1]."""
    if topic[0] == "$" and text[0] in "+#":
        return False
    levels = topic.split("/")
    at = 0
    for wanted in text.split("/"):
        if wanted == "#":
            return True
        if at >= len(levels) or wanted not in {"+", levels[at]}:
            return False
        at += 1
    return at == len(levels)
