"""Commands on a host, started like sshd starts them, with pipes or a terminal."""

import asyncio
import contextlib
import fcntl
import io
import os
import shutil
import struct
import subprocess
import termios
import threading
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.machine import streams

Size = tuple[int, int, int, int]


@dataclass(frozen=True)
class Running:
    """A started command, and our ends of its three streams."""

    process: subprocess.Popen[bytes]
    exit: "asyncio.Future[int]"
    stdin: io.FileIO
    stdout: io.FileIO
    stderr: io.FileIO | None
    """None with a terminal, where both share one stream."""

    def close(self) -> None:
        """Close our ends; the command gets end of file, EPIPE or SIGHUP, and decides what to do."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                streams.close(stream)


@dataclass
class Shell:
    """Where commands start: home folder, clean environment, and the running processes."""

    home: Path
    environment: dict[str, str]
    pids: set[int] = field(default_factory=set)

    def start(self, command: str | None, extra: dict[str, str], terminal: tuple[str, Size] | None) -> Running:
        """Start a command, or a login shell if there is none."""
        program = shutil.which("bash") or "/bin/sh"
        words = [program, "-c", command] if command is not None else [program, "-l"]
        environment = {**self.environment, **extra}
        if terminal:
            return self._with_terminal(words, {**environment, "TERM": terminal[0]}, terminal[1])
        return self._with_pipes(words, environment)

    def _with_pipes(self, words: list[str], environment: dict[str, str]) -> Running:
        (read_in, write_in), (read_out, write_out), (read_err, write_err) = os.pipe(), os.pipe(), os.pipe()
        try:
            process = self._popen(words, environment, read_in, write_out, write_err)
        finally:
            for descriptor in (read_in, write_out, write_err):
                os.close(descriptor)
        for descriptor in (write_in, read_out, read_err):
            os.set_blocking(descriptor, False)
        streams = io.FileIO(write_in, "w"), io.FileIO(read_out), io.FileIO(read_err)
        return Running(process, self._exit_of(process), *streams)

    def _with_terminal(self, words: list[str], environment: dict[str, str], size: Size) -> Running:
        ours, theirs = os.openpty()
        resize(ours, size)
        try:
            process = self._popen(words, environment, theirs, theirs, theirs, own_terminal=True)
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        terminal = io.FileIO(ours, "r+")
        return Running(process, self._exit_of(process), terminal, terminal, None)

    def _popen(
        self,
        words: list[str],
        environment: dict[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        own_terminal: bool = False,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=self.home,
            start_new_session=True,
            preexec_fn=_take_terminal if own_terminal else None,
        )
        self.pids.add(process.pid)
        return process

    def _exit_of(self, process: subprocess.Popen[bytes]) -> "asyncio.Future[int]":
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()

        def finish(code: int) -> None:
            self.pids.discard(process.pid)
            if not done.done():
                done.set_result(code)

        def wait() -> None:
            code = process.wait()
            with contextlib.suppress(RuntimeError):  # the machine is powering off
                loop.call_soon_threadsafe(finish, code)

        threading.Thread(target=wait, daemon=True).start()
        return done


def resize(terminal: int, size: Size) -> None:
    """Set a terminal's window size."""
    columns, rows, width, height = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def _take_terminal() -> None:
    # Without a controlling terminal, Ctrl-C would be an ordinary byte.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
