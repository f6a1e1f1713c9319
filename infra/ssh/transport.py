"""Paramiko's transport with the quicker ciphers first, and with limits on what a server can make this laptop hold in memory."""

import socket
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA
from paramiko.packet import Packetizer

# OpenSSH refuses larger ones, too: https://github.com/openssh/openssh-portable/blob/master/packet.c (PACKET_MAX_SIZE).
# Paramiko has no limit, and would collect the 4 GiB that a length can say, before anybody has logged in.
PACKET_BYTES = 1 << 18
BANNER_BYTES = 1 << 16
# A server may send what the channel's window allows (2 MiB) ahead of what was read. Paramiko takes whatever comes.
WAITING_BYTES = 8 << 20
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


def make_transport(link: socket.socket, **settings: Any) -> paramiko.Transport:
    """Return a transport that prefers AES-GCM, which takes half the time of AES-CTR with a MAC of its own."""
    transport = BoundedTransport(link, **settings)
    options = transport.get_security_options()
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    return transport
