"""Commands on a node: run to their end, streamed, or spoken with; every answer is bounded in size and time."""

import io
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import paramiko

from infra.base.text import last_line, one_line
from infra.errors import NodeError
from infra.ssh.connection import Connection, DroppedError, ssh_errors
from infra.ssh.transport import limit_time, protocol_errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 18
ANSWER_BYTES = 64 << 20  # of an answer: what a job with a hundred thousand outputs takes, three times
COMPLAINT_BYTES = 1 << 16  # of what a command writes to stderr
ANSWER_S = 3600.0  # to hash the outputs of a large job takes minutes
START_S, END_S = 60.0, 60.0  # until a command has started; from the end of its output to its exit code
STALL_S = 600.0  # of an upload that does not move at all
WORDS, WORD_CHARACTERS = 7, 40  # of a command line that the log shows
PACKET_BYTES = 1 << 15  # the most that Paramiko sends at once: to hand it more is to copy the rest in vain


@dataclass(frozen=True)
class Answer:
    """How a command on a node ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def name_command(argv: Sequence[str]) -> str:
    """Return the first words of a command, for the log; scripts and hashes are left out."""
    words = [word for word in argv if "\n" not in word and len(word) <= WORD_CHARACTERS]
    return one_line(shlex.join(words[:WORDS]), 120)


@contextmanager
def open_channel(connection: Connection, argv: Sequence[str]) -> Iterator[paramiko.Channel]:
    """Yield the channel of a command that runs on the node; quoting for its shell happens here and nowhere else."""
    began, shown = time.monotonic(), name_command(argv)
    with ssh_errors(connection.node.instance_id):
        with protocol_errors():
            channel = connection.transport.open_session(timeout=START_S)
        try:
            with limit_time(channel, START_S, "did not start a command"), protocol_errors():
                channel.exec_command(shlex.join(argv))
            yield channel
        finally:
            channel.close()
            code = channel.exit_status if channel.status_event.is_set() else None
            log.info("%s: %s: exit code %s, %.3f s", connection.node.instance_id, shown, code, time.monotonic() - began)


class Stdin(io.RawIOBase):
    """A command's standard input. Paramiko's own file would write once more when it is dropped, and complain if it cannot."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Send as much as the node takes now, at most a packet; return how much. Raises DroppedError if it takes nothing."""
        self.channel.settimeout(STALL_S)
        try:
            return self.channel.send(bytes(memoryview(data)[:PACKET_BYTES]))
        except TimeoutError as error:
            raise DroppedError(f"the node took no data for {STALL_S:g} s", "gpujob jobs") from error


class Stdout(io.RawIOBase):
    """A command's standard output.

    Paramiko's own file takes a connection that breaks for the end, and what it was reading is lost: the next read goes on
    behind a hole.
    """

    def __init__(self, channel: paramiko.Channel, patience_s: float | None) -> None:
        self.channel = channel
        self.left_s = patience_s

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read what has come, waiting for something; 0 at the end.

        Raises EOFError or OSError if the connection broke, NodeError when all the waiting took longer than it may.
        """
        view, began = memoryview(buffer), time.monotonic()
        self.channel.settimeout(self.left_s)
        try:
            data = self.channel.recv(len(view))
        except TimeoutError as error:
            raise NodeError(f"the node did not answer within {ANSWER_S:g} s", "gpujob jobs") from error
        if self.left_s is not None:
            self.left_s = max(self.left_s - (time.monotonic() - began), 0.001)
        view[: len(data)] = data
        return len(data)


def open_stdout(channel: paramiko.Channel, patience_s: float | None = None) -> BinaryIO:
    """Return a command's standard output as a file; reading it may take so long in all."""
    return io.BufferedReader(Stdout(channel, patience_s), CHUNK_BYTES)


Conversation = Callable[[BinaryIO, BinaryIO], None]
"""What is said to a command and read from it meanwhile: its standard input and output."""


def execute(connection: Connection, argv: Sequence[str], converse: Conversation | None = None) -> Answer:
    """Run a command to its end; the answer has what it printed after the conversation, if there was one.

    Raises NodeError for an answer of more than `ANSWER_BYTES`, or one that is not there `ANSWER_S` after the conversation.
    """
    with open_channel(connection, argv) as channel:
        stdout = open_stdout(channel, ANSWER_S)
        if converse:
            try:
                converse(cast(BinaryIO, io.BufferedWriter(Stdin(channel), CHUNK_BYTES)), stdout)
            except OSError:
                # It stopped reading: what it says on stderr is the better explanation, unless the link itself broke.
                if not connection.login.is_connected:
                    raise
        channel.shutdown_write()
        with limit_time(channel, ANSWER_S, "did not answer"):
            rest = stdout.read(ANSWER_BYTES + 1)
            if len(rest) > ANSWER_BYTES:
                raise NodeError(f"the node answered with more than {ANSWER_BYTES >> 20} MiB", "gpujob jobs")
            stderr = read_complaint(channel)
            return Answer(exit_status(channel), rest, stderr)


def stream(connection: Connection, argv: Sequence[str]) -> Iterator[bytes]:
    """Yield what a command prints as it comes; its standard input stays open until the caller has read enough.

    Raises NodeError if it fails, DroppedError if the connection ended before it did.
    """
    with open_channel(connection, argv) as channel:
        yield from read_all(channel)
        if exit_status(channel):
            raise NodeError(last_line(read_complaint(channel)) or "the agent failed")


def read_all(channel: paramiko.Channel) -> Iterator[bytes]:
    """Yield all that the command writes to its standard output."""
    while chunk := channel.recv(CHUNK_BYTES):
        yield chunk


def read_complaint(channel: paramiko.Channel) -> bytes:
    """Return the end of what a command that has ended wrote to its standard error."""
    found = b""
    with limit_time(channel, END_S, "did not end its output"):
        while chunk := channel.recv_stderr(CHUNK_BYTES):
            found = (found + chunk)[-COMPLAINT_BYTES:]
    if found:
        log.debug("it said: %s", one_line(found, COMPLAINT_BYTES))
    return found


def exit_status(channel: paramiko.Channel) -> int:
    """Return the command's exit code; raises EOFError if the connection ended before the command did."""
    with limit_time(channel, END_S, "did not tell how the command ended"):
        status = channel.recv_exit_status()
    if status == -1:
        raise EOFError("the connection ended before the command did")
    return status
