"""A job asked for input, but had no terminal."""

import re
import shlex
import sys
from collections.abc import Sequence

from cli.reasons.failure import Failure

# input(), getpass() and pdb at the end of standard input; click.prompt().
ASKED = re.compile(r"^(?:EOFError: EOF when reading a line|EOFError|bdb\.BdbQuit|Aborted[!.])\s*\Z", re.MULTILINE)


def explain(failure: Failure) -> str:
    """Return that input needs a terminal, and the command that gives the job one."""
    if not ASKED.search(failure.log):
        return ""
    typed = sys.argv[1:]
    words = typed[1:] if typed[:1] == ["run"] else retype(failure.job.command)
    again = shlex.join(["gpujob", "run", "--interactive", *words])
    return f"the job has no terminal, which breakpoint() and input() need. Give it one: {again}"


def retype(command: Sequence[str]) -> list[str]:
    """Return what runs a job's command again, after `gpujob run`."""
    return list(command[1:]) if command[0] == "python" else ["--", *command]
