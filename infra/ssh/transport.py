"""Paramiko's transport with the quicker ciphers first, and with limits on the memory and time that a server can take."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA
from paramiko.packet import Packetizer

from infra.errors import NodeError

# OpenSSH refuses larger ones, too: https://github.com/openssh/openssh-portable/blob/master/packet.c (PACKET_MAX_SIZE).
# Paramiko has no limit, and would collect the 4 GiB that a length can say, before anybody has logged in.
PACKET_BYTES = 1 << 18
BANNER_BYTES = 1 << 16
# A server may send what the channel's window allows (2 MiB) ahead of what was read. Paramiko takes whatever comes.
WAITING_BYTES = 8 << 20
MANGLED = (struct.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
Take = Callable[[paramiko.Channel, Any], None]


class BoundedPacketizer(Packetizer):
    """Reads packets, and the lines before them, up to a length."""

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Return the next bytes, as many as asked for; raises SSHException for more than a packet may have."""
        if not 0 <= n <= PACKET_BYTES:
            raise paramiko.SSHException(f"a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def readline(self, timeout: float) -> str:
        """Return the next line of the banner; raises SSHException for one without an end."""
        self.banner_bytes = 0
        return super().readline(timeout)

    def _read_timeout(self, timeout: float) -> bytes:
        """Read some of the banner: Paramiko counts neither its bytes nor, while any come, the time."""
        found: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self.banner_bytes += len(found)
        if self.banner_bytes > BANNER_BYTES:
            raise paramiko.SSHException("a line without an end")
        return found


class BoundedTransport(paramiko.Transport):
    """A connection that a server which ignores a channel's window loses."""

    def __init__(self, link: socket.socket, **settings: Any) -> None:
        super().__init__(link, packetizer_class=BoundedPacketizer, **settings)
        # Paramiko has no public place for this: which method takes which message in.
        table: dict[int, Take] = vars(paramiko.Transport)["_channel_handler_table"]
        limited = {kind: within_window(table[kind]) for kind in (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA)}
        self._channel_handler_table = {**table, **limited}


def within_window(feed: Take) -> Take:
    """Return what takes a channel's data in, unless more is waiting already than the server was allowed to send."""

    def take(channel: paramiko.Channel, message: Any) -> None:
        if len(channel.in_buffer) + len(channel.in_stderr_buffer) > WAITING_BYTES:
            raise paramiko.SSHException("more data than the channel's window allows")
        feed(channel, message)

    return take


@contextmanager
def limit_time(channel: paramiko.Channel | paramiko.Transport, seconds: float, what: str) -> Iterator[None]:
    """Close a channel or a connection, which ends whatever waits for it, unless all is done in time; raises NodeError then."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        with suppress(paramiko.SSHException, EOFError, OSError):
            channel.close()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        if late.is_set():
            raise NodeError(f"the node {what} within {seconds:g} s", "gpujob jobs") from error
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise NodeError(f"the node {what} within {seconds:g} s", "gpujob jobs")


@contextmanager
def protocol_errors() -> Iterator[None]:
    """Turn what Paramiko's parsers raise for a message that makes no sense into SSHException.

    They run in a thread of their own, and hand whatever they raise to the caller: UnicodeDecodeError, struct.error and others.
    """
    try:
        yield
    except MANGLED as error:
        raise paramiko.SSHException(f"a message that is not SSH ({type(error).__name__})") from error


def make_transport(link: socket.socket, **settings: Any) -> paramiko.Transport:
    """Return a transport that prefers AES-GCM, which takes half the time of AES-CTR with a MAC of its own."""
    transport = BoundedTransport(link, **settings)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    return transport
