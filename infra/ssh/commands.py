"""Run commands on a node: to the end, streamed, or interactively; with limits on size and time."""

import io
import logging
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

import paramiko

from infra.base import parallel
from infra.base.text import last_line, one_line
from infra.errors import NodeError
from infra.ssh.connection import Connection, DroppedError, ssh_errors
from infra.ssh.transport import limit_time, protocol_errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 18
ANSWER_BYTES = 64 << 20  # of a response: three times that of a job with a hundred thousand outputs
COMPLAINT_BYTES = 1 << 16  # of what a command writes to stderr
ANSWER_S = 3600.0  # hashing the outputs of a large job takes minutes
START_S, END_S = 60.0, 60.0  # until a command starts; from the end of its output to its exit code
STALL_S = 600.0  # of an upload that makes no progress
WORDS, WORD_CHARACTERS = 7, 40  # of a command line shown in the log
PACKET_BYTES = 1 << 15  # the most that Paramiko sends at once: passing it more copies the rest for nothing


@dataclass(frozen=True)
class Answer:
    """How a command on a node ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def name_command(argv: Sequence[str]) -> str:
    """Return the first words of a command for the log, without scripts and hashes."""
    words = [word for word in argv if "\n" not in word and len(word) <= WORD_CHARACTERS]
    return one_line(shlex.join(words[:WORDS]), 120)


@contextmanager
def open_channel(connection: Connection, argv: Sequence[str]) -> Iterator[paramiko.Channel]:
    """Run a command on the node, unless it was started early, and yield its channel."""
    began, shown = time.monotonic(), name_command(argv)
    with ssh_errors(connection.node.instance_id):
        channel = take_early(connection, argv) or start(connection, argv)
        try:
            yield channel
        finally:
            channel.close()
            code = channel.exit_status if channel.status_event.is_set() else None
            log.info("%s: %s: exit code %s, %.3f s", connection.node.instance_id, shown, code, time.monotonic() - began)


def start(connection: Connection, argv: Sequence[str]) -> paramiko.Channel:
    """Start a command on the node; the only place that quotes for the node's shell."""
    with protocol_errors():
        channel = connection.transport.open_session(timeout=START_S)
    try:
        with limit_time(channel, START_S, "did not start a command"), protocol_errors():
            channel.exec_command(shlex.join(argv))
    except BaseException:
        channel.close()
        raise
    return channel


def start_early(connection: Connection, argv: Sequence[str]) -> None:
    """Start a command, in another thread, that waits for its input until the same command is opened.

    That saves the round trips to start it, and what it takes to be ready. If it fails, the command is started when it is
    opened.
    """
    if tuple(argv) not in connection.early:
        connection.early[tuple(argv)] = parallel.start(partial(start, connection, argv))


def is_early(connection: Connection, argv: Sequence[str]) -> bool:
    """Return whether a command was started early and has not been opened since."""
    return tuple(argv) in connection.early


def take_early(connection: Connection, argv: Sequence[str]) -> paramiko.Channel | None:
    """Return the channel of a command that was started early and still runs; else None."""
    started = connection.early.pop(tuple(argv), None)
    if started is None or started.exception():
        return None
    channel = started.result()
    return None if channel.closed or channel.exit_status_ready() else channel


class Stdin(io.RawIOBase):
    """A command's standard input.

    Paramiko's own file would write once more when it is deleted, and print an error if that fails.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Send as much as the node accepts, at most a packet; raises DroppedError if it accepts nothing."""
        self.channel.settimeout(STALL_S)
        try:
            return self.channel.send(bytes(memoryview(data)[:PACKET_BYTES]))
        except TimeoutError as error:
            raise DroppedError(f"the node accepted no data for {STALL_S:g} s", "gpujob jobs") from error


class Stdout(io.RawIOBase):
    """A command's standard output.

    Paramiko's own file treats a broken connection as the end of the data and loses what it was reading: the next read has a gap.
    """

    def __init__(self, channel: paramiko.Channel, patience_s: float | None) -> None:
        self.channel = channel
        self.left_s = patience_s

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what has arrived, waiting for at least one byte; 0 at the end.

        Raises EOFError or OSError if the connection broke, NodeError if the total wait exceeds its limit.
        """
        view, began = memoryview(buffer), time.monotonic()
        self.channel.settimeout(self.left_s)
        try:
            data = self.channel.recv(len(view))
        except TimeoutError as error:
            raise NodeError(f"no response from the node within {ANSWER_S:g} s", "gpujob jobs") from error
        if self.left_s is not None:
            self.left_s = max(self.left_s - (time.monotonic() - began), 0.001)
        view[: len(data)] = data
        return len(data)


def open_stdout(channel: paramiko.Channel, patience_s: float | None = None) -> BinaryIO:
    """Return a command's standard output as a file; `patience_s` limits the total time of reading it."""
    return io.BufferedReader(Stdout(channel, patience_s), CHUNK_BYTES)


Conversation = Callable[[BinaryIO, BinaryIO], None]
"""A function that writes to a command's standard input and reads its output."""


def execute(connection: Connection, argv: Sequence[str], converse: Conversation | None = None) -> Answer:
    """Run a command to its end; the answer contains what it printed after the conversation, if any.

    Raises NodeError for more than `ANSWER_BYTES`, or if it takes longer than `ANSWER_S` after the conversation.
    """
    with open_channel(connection, argv) as channel:
        stdout = open_stdout(channel, ANSWER_S)
        if converse:
            try:
                converse(cast(BinaryIO, io.BufferedWriter(Stdin(channel), CHUNK_BYTES)), stdout)
            except OSError:
                # It stopped reading: its stderr is the better explanation, unless the connection broke.
                if not connection.login.is_connected:
                    raise
        channel.shutdown_write()
        with limit_time(channel, ANSWER_S, "did not respond"):
            rest = stdout.read(ANSWER_BYTES + 1)
            if len(rest) > ANSWER_BYTES:
                raise NodeError(f"the node sent more than {ANSWER_BYTES >> 20} MiB", "gpujob jobs")
            stderr = read_complaint(channel)
            return Answer(exit_status(channel), rest, stderr)


Send = Callable[[bytes], None]
"""A function that writes to a command's standard input; does nothing once the connection is broken."""


def ignore(_: object) -> None:
    """Do nothing."""


def stream(
    connection: Connection,
    argv: Sequence[str],
    offer: Callable[[Send], None] = ignore,
    conclude: Callable[[bytes], None] = ignore,
) -> Generator[bytes, None, None]:
    """Yield a command's output as it arrives; its input stays open until the caller stops reading.

    `offer` gets a function that writes to that input, from any thread; `conclude` gets its standard error once it has
    succeeded. Raises NodeError if the command fails, DroppedError if the connection breaks first.
    """
    with open_channel(connection, argv) as channel:

        def send(data: bytes) -> None:
            with suppress(OSError, EOFError, paramiko.SSHException):
                channel.sendall(data)

        offer(send)
        yield from read_all(channel)
        failed, said = exit_status(channel), read_complaint(channel)
        if failed:
            raise NodeError(last_line(said) or "the agent failed")
        conclude(said)


def read_all(channel: paramiko.Channel) -> Iterator[bytes]:
    """Yield everything that the command writes to its standard output."""
    while chunk := channel.recv(CHUNK_BYTES):
        yield chunk


def read_complaint(channel: paramiko.Channel) -> bytes:
    """Return the end of an ended command's standard error."""
    found = b""
    with limit_time(channel, END_S, "did not end its output"):
        while chunk := channel.recv_stderr(CHUNK_BYTES):
            found = (found + chunk)[-COMPLAINT_BYTES:]
    if found:
        log.debug("stderr: %s", one_line(found, COMPLAINT_BYTES))
    return found


def exit_status(channel: paramiko.Channel) -> int:
    """Return the command's exit code; raises EOFError if the connection broke before the command ended."""
    with limit_time(channel, END_S, "did not report the command's exit code"):
        status = channel.recv_exit_status()
    if status == -1:
        raise EOFError("the connection broke before the command ended")
    return status
