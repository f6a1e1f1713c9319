"""The agent's commands, as the client calls them over SSH.

    submit                          request on stdin, a line of base64 of deflated JSON -> {"missing": [SHA-256, ...]} in a line,
                                    then a gzipped tar of the missing files -> {"job": NUMBER, "ahead": COUNT}
    jobs [NUMBER]                   -> [record, ...]
    logs NUMBER OFFSET [--follow]   -> the log's bytes from OFFSET on; with --follow until the job is over
    tail NUMBER LINES               -> {"offset": where the log's last lines begin}
    cancel NUMBER                   end the job and all its processes -> record
    outputs NUMBER                  -> {"outputs": [{"path", "size_bytes", "sha256", "mode", "link"}, ...], "unreadable": [...]}
    send NUMBER                     JSON list of [path, offset] on stdin -> tar of those files from there on
    fetched NUMBER                  every output has arrived and was verified
    probe                           -> {"python", "driver", "gpus", "multiplied"}

Exit codes: 0 done; 3 no such job; 1 anything else, with one line on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable

from .logs import find_tail, send_log
from .machine import probe
from .outputs import list_outputs, mark_fetched, send_outputs
from .records import AgentError, numbers, record_of
from .submission import submit
from .supervisor import cancel, supervise

COMMANDS: dict[str, Callable[..., Any]] = {
    "submit": submit,
    "supervise": supervise,
    "jobs": lambda *asked: [record_of(number) for number in asked or numbers()],
    "logs": lambda number, offset, *follow: send_log(number, int(offset), "--follow" in follow),
    "tail": lambda number, lines: find_tail(number, int(lines)),
    "cancel": cancel,
    "outputs": list_outputs,
    "send": send_outputs,
    "fetched": mark_fetched,
    "probe": probe,
}


def main() -> None:
    """Run the command that the arguments name and write its answer, as JSON unless it is a stream of bytes."""
    try:
        answer = COMMANDS[sys.argv[1]](*sys.argv[2:])
        if answer is not None:
            json.dump(answer, sys.stdout)
        sys.stdout.flush()
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the client hung up, and Python would complain once more as it flushes
        os._exit(1)
    except OSError as error:  # a full disk, most of all
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
