"""Closes a listening socket so that nobody who has connected is reset.

The kernel completes connections before the loop accepts them, and closing the socket resets those.
So first a filter drops attempts to connect (clients repeat them after a second and are refused
then), the loop accepts what is complete, and only then the socket is closed.
"""

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Sequence

SECONDS = 0.1
"""How long handshakes that are under way may take."""
_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_DROP_SYN = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header with the flags (RFC 9293 section 3.1)
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # only SYN: a new connection
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFF_FFFF),  # take the packet
    )
)


async def stop_accepting(servers: Sequence[asyncio.Server]) -> None:
    """Let in nobody new, accept who is there, then close the listening sockets."""
    sockets = [each for server in servers for each in server.sockets]
    if sockets and sys.platform == "linux":
        for each in sockets:
            _turn_away(each.fileno())
        await asyncio.sleep(SECONDS)
    for server in servers:
        server.close()


def _turn_away(listening: int) -> None:
    """Drop attempts to connect (socket(7), SO_ATTACH_FILTER)."""
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    size = len(_DROP_SYN) // _INSTRUCTION.size
    option = struct.pack("@HP", size, ctypes.addressof(program))
    # A second handle, because the loop's socket object is not a whole one.
    with (
        contextlib.suppress(OSError),  # a sandbox may forbid it: then it is as everywhere else
        socket.socket(fileno=os.dup(listening)) as handle,
    ):
        handle.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, option)
