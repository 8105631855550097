"""WebSocket frames by hand (RFC 6455), and MQTT through them."""

import os
import socket

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(payload: bytes, opcode: int = BINARY, *, final: bool = True) -> bytes:
    """Return a client's frame, masked."""
    mask = os.urandom(4)
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    whole = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return head + mask + masked.to_bytes(size, "big")


class WebSocket:
    """A WebSocket after its handshake; looks enough like a socket for ``Client``."""

    def __init__(self, port: int, protocols: str = "mqtt") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 3)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        offer = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
        self.socket.sendall(
            f"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        self.data = b""
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            assert byte, self.head
            self.head += byte

    def send(self, *frames: bytes) -> None:
        """Send frames as they are."""
        self.socket.sendall(b"".join(frames))

    def frame(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; raises ConnectionError at the end."""
        while True:
            found = self._parse()
            if found is not None:
                return found
            part = self.socket.recv(65_536)
            if not part:
                raise ConnectionError
            self.data += part

    def _parse(self) -> tuple[int, bytes] | None:
        data = self.data
        if len(data) < 2:
            return None
        assert data[1] < 0x80, "a server does not mask"
        at, size = 2, data[1]
        if size >= 126:
            at += 2 if size == 126 else 8
            size = int.from_bytes(data[2:at], "big")
        if len(data) < at + size:
            return None
        self.data = data[at + size :]
        return data[0] & 15, data[at : at + size]

    def closed(self) -> bool:
        """Wait for the end."""
        try:
            while self.frame()[0] != CLOSE:
                pass
        except ConnectionError:
            pass
        return True

    # As a socket

    def sendall(self, data: bytes) -> None:
        """Send MQTT packets in a frame."""
        self.socket.sendall(frame(data))

    def recv(self, _size: int) -> bytes:
        """Return what came in a frame, b"" at the end."""
        opcode, payload = self.frame()
        if opcode == CLOSE:
            return b""
        assert opcode in {BINARY, CONTINUATION}, "MQTT packets are in binary frames"
        return payload

    def settimeout(self, seconds: float) -> None:
        """Wait that long at most."""
        self.socket.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        """Cut the connection."""
        self.socket.shutdown(how)

    def close(self) -> None:
        """Close it."""
        self.socket.close()
