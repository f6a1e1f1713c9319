"""The agent's commands, as the client calls them over SSH.

    submit                          request on stdin, a line of base64 of deflated JSON -> {"missing": [SHA-256, ...]} in a line,
                                    with "unknown": true where its list of files refers to one that is not here, and the
                                    request is expected again with all of them; see `lists`;
                                    then the missing contents in that order, in blocks -> {"job": NUMBER, "ahead": COUNT,
                                    "port", "disk_bytes", "disk_free_bytes"}
    away                            started by a sent job's machine, not by the client: see `away`
    jobs [NUMBER...] [--last]       -> [record, ...]
    logs NUMBER OFFSET [--follow]   -> the log's bytes from OFFSET on; with --follow until the job is over, and
                                    then its record on stderr, unless it is very long
    attach NUMBER OFFSET            the same for a job with a terminal; frames on stdin are passed on to it: `terminal`
    tail NUMBER LINES               -> {"offset": where the log's last lines begin}
    look COUNT                      -> {"now", "cpus", "cpu_used", "memory_bytes", "memory_used_bytes", "disk_bytes",
                                        "disk_free_bytes", "gpus": [...],
                                        "jobs": [{"job": record, "cpu_used", "memory_bytes", "last_line"}, ...]}:
                                        the jobs that are not over, and COUNT of the others
    since NUMBER SECONDS            -> {"offset": where the output of the last SECONDS begins}
    tasks NUMBER                    -> {"now", "tasks": [{"index", "values", "state", "exit_code", "reason", "node", "started_at",
                                        "seconds", "attempts"}, ...]} of an array
    cancel NUMBER                   end the job and all its processes, or one task of an array -> record
    outputs NUMBER [--settled] [--output=PATH ...] [--since=TOKEN]
                                    -> {"job": record, "outputs": [{"path", "outside", "size_bytes", "sha256", "mode",
                                        "link", "same_as"}, ...], "gone": [{"path", "outside"}, ...], "since", "token",
                                        "unreadable": [path, ...], "unsettled": [path, ...],
                                        "missing": [PATH, ...], "held": [{"path", "files", "size_bytes"}, ...], "excluded",
                                        "left": [{"path", "files", "size_bytes", "jobs", "minor"}, ...], "left_complete"};
                                    --settled leaves out what is still being written; with the TOKEN of an earlier answer,
                                    only what differs from it, if "since" is that; see `changes`, `told`, `asked`, `outside`
    left                            -> {"left": as above, of all jobs, "complete"}
    send NUMBER                     JSON list of [path, offset, outside] on stdin -> for each file that still exists a line of
                                    JSON, {"path", "outside", "size_bytes"}, and that many bytes from the offset on
    fetched NUMBER                  every output has arrived and was verified
    remove NUMBER... [--force]      remove finished jobs, only downloaded ones unless forced -> {"freed_bytes"}
    sift                            remove environments that were modified
    space                           -> {"disk_bytes", "disk_free_bytes", "upload_fault"}
    data-push                       a set's files on stdin, a line of base64 of deflated JSON -> {"missing": [[SHA-256, OFFSET],
                                    ...], "changed": [PATH, ...], "free_bytes"} in a line, then the missing contents from
                                    those offsets on, in blocks -> {"version"}
    data-list [VERSION...]          -> [{"version", "path", "source", "files", "size_bytes", "stored_at", "jobs", "changed"}, ...]
    data-remove VERSION...          -> {"freed_bytes"}
    page                            -> {"job", "port", "token", "said"} of the notebook; job 0 without one, port 0 until it
                                    listens
    notebook                        started by a job's supervisor: becomes JupyterLab
    ray FOLDER COMMAND...           started by a job's runner: COMMAND with Ray
    tensorboard [NUMBER]            progress lines, then {"port"} once TensorBoard listens, on one job's folder or all; ends
                                    with standard input
    upload NUMBER                   started by the guard: uploads the job to its bucket until all of it is there
    guard IDLE_S WARNING_S          started by the machine, not by the client: see `guard`
    measure                         -> see `measures`
    network ADDRESS                 the way to another node, in a conversation: see `network`
    share ADDRESS                   a key in a line on stdin -> {"port"} in a line, where other nodes get what this one has of
                                    projects and data sets; ends with standard input
    await COMMAND                   get ready for it, then read its arguments, a line of JSON on stdin, and run it; the rest of
                                    stdin is the command's
    compile                         keep the agent compiled for this interpreter: see `bytecode`
    probe                           -> {"python", "driver", "gpus", "multiplied"}

Exit codes: 0 done; 3 no such job; 1 anything else, with one line on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from ..records import AgentError

# Module and function of each, imported on demand because the agent starts for every call.
COMMANDS = {
    "submit": ("requests.submission", "submit"),
    "away": ("away.work", "work"),
    "supervise": ("array.start", "supervise"),
    "watch": ("array.start", "watch"),
    "jobs": ("job.recovery", "list_jobs"),
    "logs": ("requests.logs", "send_log"),
    "attach": ("requests.attaching", "attach"),
    "tail": ("requests.logs", "find_tail"),
    "look": ("node.look", "look"),
    "since": ("job.times", "find_since"),
    "tasks": ("tasks.one", "list_tasks"),
    "cancel": ("requests.cancelling", "cancel"),
    "outputs": ("outputs.changes", "list_outputs"),
    "left": ("outputs.outside", "list_left"),
    "send": ("outputs.sending", "send_outputs"),
    "fetched": ("outputs.changes", "mark_fetched"),
    "remove": ("removal", "remove"),
    "sift": ("environment.dependencies", "sift"),
    "space": ("machine", "describe_space"),
    "data-push": ("data.arriving", "push"),
    "data-list": ("data.used", "list_sets"),
    "data-remove": ("data.used", "remove"),
    "page": ("pages.notebook", "find_page"),
    "notebook": ("pages.notebook", "serve"),
    "ray": ("muster.ray", "launch"),
    "tensorboard": ("pages.tensorboard", "serve"),
    "upload": ("bucket.process", "upload"),
    "guard": ("node.guard", "guard"),
    "measure": ("node.measures", "measure"),
    "network": ("node.network", "measure_network"),
    "share": ("node.sharing", "share"),
    "compile": ("archive.bytecode", "compile_agent"),
    "probe": ("machine", "probe"),
}


def main() -> None:
    """Run the command given as arguments and write its answer, as JSON unless it is a stream."""
    try:
        command, *words = sys.argv[1:]
        module, name = COMMANDS[words[0] if command == "await" else command]
        function = getattr(import_module(f"..{module}", __package__), name)
        answer = function(*(await_words() if command == "await" else words))
        if answer is not None:
            sys.stdout.write(json.dumps(answer))
        sys.stdout.flush()
        leave()
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the client hung up; without this, flushing would raise again
        os._exit(1)
    except OSError as error:  # usually a full disk
        from ..room import explain

        sys.stderr.write(f"{explain(error)}\n")
        sys.exit(1)


def leave() -> None:
    """End this process unless threads are at work: taking Python apart is a seventh of a call."""
    threading = sys.modules.get("threading")
    if threading is None or threading.active_count() == 1:
        sys.stderr.flush()
        os._exit(0)


def await_words() -> list[str]:
    """Return the words in the first line of standard input, and read no more; exit if there is none."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return list(json.loads(line))
