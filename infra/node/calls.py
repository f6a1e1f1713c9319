"""Call the agent: run one of its commands on the node, and return the answer."""

import errno
import json
import os
from collections.abc import Sequence
from typing import Any, BinaryIO

from infra.base.decoding import parse
from infra.base.text import last_line
from infra.errors import NodeError, NotFoundError
from infra.node.packing import CHANGED, agent_argv, install_agent, write
from infra.ssh.commands import Conversation, execute, is_early, start_early
from infra.ssh.connection import Connection


def call(connection: Connection, *arguments: str, converse: Conversation | None = None) -> Any:
    """Return the agent's response to a command, after installing the agent if it is missing or changed."""
    argv, line = start_of(connection, arguments)

    def begin(stdin: BinaryIO, stdout: BinaryIO) -> None:
        write(stdin, line)
        if converse:
            converse(stdin, stdout)

    answer = execute(connection, argv, begin if line or converse else None)
    if answer.exit_code == CHANGED:
        install_agent(connection)
        answer = execute(connection, agent_argv(*arguments), converse)
    if answer.exit_code == 3:
        raise NotFoundError(last_line(answer.stderr), "gpujob jobs")
    if answer.exit_code:
        said = last_line(answer.stderr) or f"exit code {answer.exit_code}"
        hint = "free disk space: gpujob jobs rm --done" if os.strerror(errno.ENOSPC) in said else "gpujob jobs"
        raise NodeError(f"the agent{connection.on_node} failed: {said}", hint)
    return parse(answer.stdout) if answer.stdout else None


def expect(connection: Connection, command: str) -> None:
    """Let the node get ready for one of the agent's commands that will follow on this connection."""
    start_early(connection, agent_argv("await", command))


def start_of(connection: Connection, arguments: Sequence[str]) -> tuple[list[str], bytes]:
    """Return how to start an agent's command, and the line to write first if it was expected."""
    early = agent_argv("await", arguments[0])
    if is_early(connection, early):
        return early, json.dumps(arguments[1:]).encode() + b"\n"
    return agent_argv(*arguments), b""
