"""What Ansible tells of each task, a line of JSON each, for infra/setup/playbook.py to read.

Ansible loads this file by itself: it imports Ansible, and nothing of ours imports it.
"""

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: gpujob
type: stdout
short_description: a line of JSON for each task of each machine
description: Read by gpujob, which shows it to a person.
"""

# What may tell why a task failed; nothing else of a result leaves Ansible.
MOST = 4000  # characters of each: a task may print without end
TELLING = ("msg", "rc", "stderr", "module_stderr", "stdout", "module_stdout", "argument_errors", "item")


class CallbackModule(CallbackBase):
    """Every event, as it happens."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "gpujob"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Tell that a task begins on a machine."""
        self._tell("started", host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Tell that it ended well."""
        self._tell("changed" if result.is_changed() else "ok", result._host, result._task)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Tell that it was not needed."""
        self._tell("skipped", result._host, result._task)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Tell that it failed, which may be all the same."""
        self._tell("ignored" if ignore_errors else "failed", result._host, result._task, result._result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Tell that the machine did not answer."""
        self._tell("unreachable", result._host, result._task, result._result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Tell that all of it is over, and which machines did not get to the end."""
        ends = {host: stats.summarize(host) for host in sorted(stats.processed)}
        lost = [host for host, end in ends.items() if end["failures"] or end["unreachable"]]
        write({"status": "over", "lost": lost})

    def _tell(self, status: str, host: Any, task: Any, result: Any = None) -> None:
        role = task._role.get_name() if task._role else ""
        event = {"status": status, "node": host.get_name(), "role": role, "task": task.name or task.action}
        write(event | ({"result": pick(result)} if result else {}))


def pick(result: Any) -> dict[str, Any]:
    """Return what of a result tells why it failed; of a loop, of those items that did."""
    found = {name: cut(result[name]) for name in TELLING if result.get(name)}
    failed = [item for item in result.get("results", []) if isinstance(item, dict) and item.get("failed")]
    return found | ({"results": [pick(item) for item in failed[:3]]} if failed else {})


def cut(value: Any) -> Any:
    """Return a value, a long text as its end, and a list with as many items as a person reads."""
    if isinstance(value, list):
        return [cut(each) for each in value[:20]]
    return value if isinstance(value, (int, float)) else str(value)[-MOST:]


def write(event: dict[str, Any]) -> None:
    """Write one event; Ansible's own display would break it into lines."""
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()
