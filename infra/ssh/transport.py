"""Paramiko's transport with faster ciphers first, and limits on the memory and time a server can use."""

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

# OpenSSH also refuses larger ones: https://github.com/openssh/openssh-portable/blob/master/packet.c (PACKET_MAX_SIZE).
# Paramiko has no limit, and would buffer up to 4 GiB before the login.
PACKET_BYTES = 1 << 18
BANNER_BYTES = 1 << 16
# A server may send what the channel's window allows (2 MiB) ahead of reads. Paramiko accepts any amount.
WAITING_BYTES = 8 << 20
MANGLED = (struct.error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
Take = Callable[[paramiko.Channel, Any], None]


class BoundedPacketizer(Packetizer):
    """A packetizer that limits the length of packets, and of the lines before them."""

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Return the next `n` bytes; raises SSHException for more than a packet may have."""
        if not 0 <= n <= PACKET_BYTES:
            raise paramiko.SSHException(f"a packet of {n} bytes")
        return super().read_all(n, check_rekey)

    def readline(self, timeout: float) -> str:
        """Return the next line of the banner; raises SSHException for an endless one."""
        self.banner_bytes = 0
        return super().readline(timeout)

    def _read_timeout(self, timeout: float) -> bytes:
        """Read some of the banner: Paramiko limits neither its size nor, while data arrives, the time."""
        found: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self.banner_bytes += len(found)
        if self.banner_bytes > BANNER_BYTES:
            raise paramiko.SSHException("an endless line")
        return found


class BoundedTransport(paramiko.Transport):
    """A transport that disconnects from a server which ignores a channel's window."""

    def __init__(self, link: socket.socket, **settings: Any) -> None:
        super().__init__(link, packetizer_class=BoundedPacketizer, **settings)
        # Paramiko has no public interface to the table of message handlers.
        table: dict[int, Take] = vars(paramiko.Transport)["_channel_handler_table"]
        limited = {kind: within_window(table[kind]) for kind in (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA)}
        self._channel_handler_table = {**table, **limited}


def within_window(feed: Take) -> Take:
    """Return a message handler that rejects more unread data than the server may send."""

    def take(channel: paramiko.Channel, message: Any) -> None:
        if len(channel.in_buffer) + len(channel.in_stderr_buffer) > WAITING_BYTES:
            raise paramiko.SSHException("more data than the channel's window allows")
        feed(channel, message)

    return take


@contextmanager
def limit_time(channel: paramiko.Channel | paramiko.Transport, seconds: float, what: str) -> Iterator[None]:
    """Close a channel or connection after `seconds`, which ends any wait for it, and raise NodeError."""
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
    """Turn what Paramiko's parsers raise for an invalid message into SSHException.

    They run in another thread, and pass whatever they raise to the caller: UnicodeDecodeError, struct.error and others.
    """
    try:
        yield
    except MANGLED as error:
        raise paramiko.SSHException(f"an invalid SSH message ({type(error).__name__})") from error


def make_transport(link: socket.socket, **settings: Any) -> paramiko.Transport:
    """Return a transport that prefers AES-GCM, which is twice as fast as AES-CTR with a separate MAC."""
    transport = BoundedTransport(link, **settings)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    return transport
