"""The SSH server of a host: one user, one key; commands, terminals, SFTP and local port forwarding."""

import asyncio
import contextlib
import io
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from infra.local.machine import streams
from infra.local.machine.routes import Routes, is_within
from infra.local.machine.shell import Running, Shell, resize

USER = "ubuntu"
HERE = ("127.0.0.1", "localhost", "::1")
CLIENT_MAY_SET = ("LANG", "LC_")

Process = asyncssh.SSHServerProcess[bytes]


@dataclass(frozen=True)
class Access:
    """Who may log in: the key, and the file of the networks that the machine's security groups let in."""

    key: str
    sources: Path | None
    """None for a private machine: a jump host asks for itself."""
    routes: Routes
    user: str = USER

    def lets_in(self, address: str) -> bool:
        """Return whether an address may connect now."""
        return self.sources is None or is_within(address, self.sources.read_text().split())


class Door(asyncssh.SSHServer):
    """Access control: some networks, one user with one key, and local forwarding only."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._authorized = asyncssh.import_public_key(access.key) if access.key else None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Break a connection that the security groups do not let in; EC2 would drop its packets."""
        self._connection = conn
        if not self._access.lets_in(str(conn.get_extra_info("peername")[0])):
            conn.abort()

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002
        """Require authentication."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Accept only public key authentication."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Accept only the instance's key pair."""
        return username == self._access.user and self._authorized is not None and key == self._authorized

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:  # noqa: ARG002
        """Let the client reach ports of the host, and through it private machines of its network."""
        if dest_host in HERE:
            return True
        port = self._access.routes.find_port(dest_host, dest_port)
        return port is not None and self._connection.forward_connection(HERE[0], port)


@dataclass(frozen=True)
class Sshd:
    """A listening server."""

    acceptor: asyncssh.SSHAcceptor
    port: int


async def listen(shell: Shell, host_key: asyncssh.SSHKey, access: Access) -> Sshd:
    """Listen on a free loopback port."""

    async def serve(process: Process) -> None:
        await run(process, shell)

    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Door(access),
        server_host_keys=[host_key],
        process_factory=serve,
        sftp_factory=True,
        encoding=None,
        line_editor=False,
        agent_forwarding=False,
        x11_forwarding=False,
        gss_host=None,
    )
    return Sshd(acceptor, acceptor.get_port())


async def run(process: Process, shell: Shell) -> None:
    """Run what a session requests until it ends or the client disconnects."""
    if process.subsystem:  # SFTP is handled elsewhere, and there is no other
        process.exit(127)
        return
    kind = process.term_type
    try:
        running = shell.start(process.command, _environment(process), (kind, process.term_size) if kind else None)
    except OSError as error:
        process.stderr.write(f"{error}\n".encode())
        process.exit(126)
        return
    gone = asyncio.ensure_future(process.wait_closed())
    work = asyncio.ensure_future(_carry(process, running))
    try:
        await asyncio.wait({gone, work}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(gone, work)
        running.close()


async def _carry(process: Process, running: Running) -> None:
    feeding = asyncio.ensure_future(_feed(process, running))
    draining = [asyncio.ensure_future(_drain(running.stdout, process.stdout))]
    if running.stderr is not None:
        draining.append(asyncio.ensure_future(_drain(running.stderr, process.stderr)))
    try:
        code = await running.exit
        if running.stderr is None:
            await _finish_terminal(running.stdout, draining[0], process)
        else:
            await asyncio.gather(*draining)
    except (BrokenPipeError, ConnectionError, asyncssh.Error):
        return
    finally:
        # Awaited one by one: a failed gather leaves the others running, on descriptors that are closed next.
        await _cancel(feeding, *draining)
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def _drain(stream: io.FileIO, writer: "asyncssh.SSHWriter[bytes]") -> None:
    async for data in streams.chunks(stream):
        writer.write(data)
        await writer.drain()


async def _finish_terminal(stream: io.FileIO, draining: "asyncio.Future[Any]", process: Process) -> None:
    # A background child may hold the terminal open; sshd ends the session with the command, and so does this.
    await asyncio.wait({draining}, timeout=0.05)
    await _cancel(draining)
    while data := streams.read_now(stream):
        process.stdout.write(data)
        await process.stdout.drain()


async def _feed(process: Process, running: Running) -> None:
    """Forward the client's input, window changes and signals to the command."""
    listening = True
    while True:
        try:
            data = await process.stdin.read(streams.CHUNK)
        except asyncssh.TerminalSizeChanged as change:
            resize(running.stdin.fileno(), change.term_size)
            continue
        except asyncssh.SignalReceived as received:
            _signal(running, received.signal)
            continue
        except asyncssh.BreakReceived:
            continue
        if not data:
            break
        if listening:
            try:
                await streams.send(running.stdin, data)
            except OSError:  # the command no longer reads; remaining input is dropped, as by sshd
                listening = False
    if running.stderr is not None:
        streams.close(running.stdin)


def _signal(running: Running, name: str) -> None:
    number = getattr(signal, f"SIG{name}", None)
    if number is not None and running.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, number)


def _environment(process: Process) -> dict[str, str]:
    chosen = {name: value for name, value in process.env.items() if name.startswith(CLIENT_MAY_SET)}
    peer, here = process.get_extra_info("peername"), process.get_extra_info("sockname")
    return {**chosen, "SSH_CONNECTION": f"{peer[0]} {peer[1]} {here[0]} {here[1]}"}


async def _cancel(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
