"""Connections through a jump host, with the user's own ssh: settings, keys, agent, known hosts."""

import re
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field

from infra.base.text import one_line
from infra.errors import NodeError
from infra.model import Node

FINAL = re.compile(r"Host key verification failed|Permission denied|IDENTIFICATION HAS CHANGED|configuration option")
"""What ssh says if trying again does not help."""
ENDS_S = 2.0


def jump_words(jump: str, node: Node) -> list[str]:
    """Return the command whose standard streams are a connection to a node's SSH server."""
    place, _, port = jump.partition(":")
    return ["ssh", "-W", f"{node.host}:{node.port}", *(("-p", port) if port else ()), place]


@dataclass
class Jump:
    """A connection to a node's SSH server through a jump host; the caller checks the node's host key."""

    jump: str
    link: socket.socket
    process: "subprocess.Popen[bytes]" = field(repr=False)
    said: bytes = b""
    """What ssh printed, complete once it has ended."""

    def watch(self) -> None:
        """Collect what ssh prints, and its exit status, in the background."""

        def read() -> None:
            _, self.said = self.process.communicate()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()

    def close(self) -> None:
        """End the connection; ssh ends by itself then, unless it still waits for the jump host."""
        with suppress(OSError):
            self.link.close()
        self.process.terminate()
        self.reader.join(ENDS_S)

    def check(self) -> None:
        """Raise NodeError if ssh has failed in a way that lasts."""
        self.reader.join(ENDS_S)
        words = one_line(self.said.decode(errors="replace").strip(), 300)
        if FINAL.search(words):
            place, _, port = self.jump.partition(":")
            login = f"ssh {place}" + (f" -p {port}" if port else "")
            raise NodeError(
                f"cannot use the jump host {self.jump}: {words}", f"this must work without a question: {login}"
            )


def open_jump(jump: str, node: Node) -> Jump:
    """Start ssh to a node's SSH server; raises NodeError if it is not installed.

    It has no terminal, so it cannot ask anything, and Ctrl-C does not end it before its user has finished.
    """
    near, far = socket.socketpair()
    words = jump_words(jump, node)
    try:
        process = subprocess.Popen(
            ["ssh", "-o", "BatchMode=yes", *words[1:]],
            stdin=far.fileno(),
            stdout=far.fileno(),
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        near.close()
        raise NodeError("ssh is not installed on this computer", "install OpenSSH's client") from error
    finally:
        far.close()
    opened = Jump(jump, near, process)
    opened.watch()
    return opened
