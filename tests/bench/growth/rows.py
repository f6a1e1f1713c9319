"""What grows, by name: each row makes what it needs in an empty folder, and measures one action on it."""

import base64
import io
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from cli.terminal.output import Output as Printer
from infra.fetch.outputs import EVERYTHING, Wanted, fetch
from infra.model import Request
from infra.node import client
from infra.node.agent.job.mask import Mask
from infra.project.files import read_project
from infra.run.submission import Submission, submit
from tests.bench.growth.curve import Costs, Row
from tests.bench.growth.machine import CLIENT, NODE, Machine, await_that, cpu_seconds, start
from tests.bench.measure import BenchError

OUTPUTS = (100, 1_000, 10_000, 20_000)
FILES = (100, 1_000, 20_000, 50_000)
JOBS = (1, 100, 1_000)
QUEUED = (10, 100, 500)
HEAD_S = 10.0
LINE = b"an ordinary line of a job's output, of which there are many, with a loss of 0.123\n"
WRITE = "import sys, os; os.mkdir('out'); [open(f'out/{n:06}', 'w').write(str(n)) for n in range(int(sys.argv[1]))]"


def run_outputs(machine: Machine, count: int) -> int:
    """Run a job that writes files; return its number."""
    return machine.run_job("python3", "-c", WRITE, str(count)).number


def take(machine: Machine, folder: Path, number: int, wanted: Wanted = EVERYTHING) -> Costs:
    """Fetch a job; return what that cost."""
    return machine.measure(lambda: fetch(machine.connection, number, folder / "project/runs", lambda _: None, wanted))


def fetch_first(folder: Path, count: int) -> Costs:
    """Download a job's outputs."""
    with start(folder) as machine:
        return take(machine, folder, run_outputs(machine, count))


def fetch_again(folder: Path, count: int) -> Costs:
    """Download a job's outputs that are already here."""
    with start(folder) as machine:
        number = run_outputs(machine, count)
        take(machine, folder, number)
        return take(machine, folder, number)


def fetch_round(folder: Path, count: int) -> Costs:
    """Look for new outputs, as while a job runs, where there are none."""
    with start(folder) as machine:
        number, runs = run_outputs(machine, count), folder / "project/runs"
        last = fetch(machine.connection, number, runs, lambda _: None, Wanted(settled=True))
        while len(last.told.outputs) < count:  # those that were written in the last second count as unfinished
            last = fetch(machine.connection, number, runs, lambda _: None, Wanted(settled=True, before=last))
        return take(machine, folder, number, Wanted(settled=True, before=last))


def run_unchanged(folder: Path, count: int) -> Costs:
    """Run a job with the code of the last one, committed in git."""
    project = folder / "project"
    for number in range(count):
        place = project / f"{number // 100:04}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.py").write_text(f"number = {number}\n" * 20)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "-C", str(project)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "code"]):
        subprocess.run([*git, *words], check=True)
    with start(folder) as machine:
        for _ in range(2):
            machine.wait(run_project(machine, project))
            machine.wait_until_quiet()
        return machine.measure(lambda: run_project(machine, project))


def run_project(machine: Machine, project: Path) -> int:
    """Read a project and submit a job of it; return the job's number."""
    submission = Submission(read_project(project), Request(("true",), no_deps=True))
    return submit(machine.connection, submission, lambda _: None, lambda _: None).job


def list_jobs(folder: Path, count: int) -> Costs:
    """List the jobs of a node."""
    return call_with_jobs(folder, count, lambda machine: client.list_jobs(machine.connection))


def look(folder: Path, count: int) -> Costs:
    """Look at a node, as `top` does each time."""
    return call_with_jobs(folder, count, lambda machine: client.look(machine.connection, 5))


def find_latest(folder: Path, count: int) -> Costs:
    """Find the latest job, as `logs` does without a number."""
    return call_with_jobs(folder, count, lambda machine: client.find_job(machine.connection))


def call_with_jobs(folder: Path, count: int, call: Callable[[Machine], object]) -> Costs:
    """Call the agent of a node that has run many jobs, for the second time."""
    with start(folder) as machine:
        machine.copy_job(machine.run_job("true").number, count - 1)
        call(machine)
        return machine.measure(lambda: call(machine))


def submit_more(folder: Path, count: int) -> Costs:
    """Submit a job to a node that has run many."""
    return call_with_jobs(folder, count, lambda machine: machine.submit("true"))


def queue(folder: Path, count: int) -> Costs:
    """Queue jobs, which all run in the end; return the memory that each takes while it waits, in MB."""
    with start(folder) as machine:
        first = machine.submit("sleep", "600", gpus=1)
        numbers = [machine.submit("true", gpus=1) for _ in range(count)]
        behind = [supervisor_of(machine, number) for number in numbers[1:]]
        await_that(lambda: {each.name() for each in behind} == {"flock"}, "all to wait")
        most_bytes = max(each.memory_full_info().uss for each in behind)
        client.cancel(machine.connection, first)
        for number in numbers:  # in the order in which they end: waiting for one has a limit
            if machine.wait(number).state != "succeeded":
                raise BenchError("a queued job failed")
        return {NODE: most_bytes / 1e6}


def wait_at_head(folder: Path, count: int) -> Costs:
    """Wait at the head of the queue; return the share of a core that this takes, in percent."""
    with start(folder) as machine:
        machine.copy_job(machine.run_job("true").number, count - 1)
        first, second = (machine.submit("sleep", "600", gpus=1) for _ in range(2))
        head = supervisor_of(machine, second)
        time.sleep(HEAD_S)
        before, began = sum(head.cpu_times()[:2]), time.monotonic()
        time.sleep(HEAD_S)
        share = (sum(head.cpu_times()[:2]) - before) / (time.monotonic() - began)
        for number in (second, first):
            client.cancel(machine.connection, number)
        return {NODE: share * 100}


def supervisor_of(machine: Machine, number: int) -> psutil.Process:
    """Return the process of a job's supervisor."""
    record = machine.jobs / str(number) / "state.json"
    await_that(record.exists, "the supervisor")
    return psutil.Process(json.loads(record.read_text())["supervisor"][0])


def mask_keys(_: Path, lines: int) -> Costs:
    """Mask 10 MB of output, for a key of many lines."""
    return mask(["\n".join(base64.b64encode(os.urandom(48)).decode() for _ in range(lines))])


def mask_short(_: Path, count: int) -> Costs:
    """Mask 10 MB of output, for many short secrets."""
    return mask([base64.b32encode(os.urandom(4)).decode()[:5].lower() for _ in range(count)])


def mask(secrets: list[str]) -> Costs:
    """Mask 10 MB of output."""
    chunk, filtered = LINE * (65536 // len(LINE)), Mask(secrets)
    before_s = cpu_seconds()
    for _ in range(10_000_000 // len(chunk)):
        filtered.feed(chunk)
    return {NODE: cpu_seconds() - before_s}


def find_tail(folder: Path, lines: int) -> Costs:
    """Find the last lines of a log, on the node."""
    with start(folder) as machine:
        number = machine.run_job("true").number
        log = machine.jobs / str(number) / "log"
        log.write_bytes(LINE * lines)
        return machine.measure(lambda: client.find_tail(machine.connection, number, lines - 1))


def print_bar(_: Path, megabytes: int) -> Costs:
    """Return how much of a progress bar without a newline reaches a file, in megabytes."""
    reached = io.BytesIO()
    printer, chunk = Printer(stream=reached), b"epoch 1: 100/1000 [####      ] loss 0.123\r" * 24
    for _round in range(megabytes * 1_000_000 // len(chunk)):
        printer.write(chunk)
    printer.flush()
    return {CLIENT: reached.tell() / 1e6}


ROWS = {
    "fetch": Row("fetch", "outputs", OUTPUTS, 10_000, {CLIENT: 2.0, NODE: 2.0}, fetch_first),
    "fetch-again": Row("fetch with everything here", "outputs", OUTPUTS, 10_000, {CLIENT: 1.0, NODE: 1.0}, fetch_again),
    "fetch-round": Row(
        "a round of downloads with nothing new", "outputs", OUTPUTS, 10_000, {CLIENT: 0.1, NODE: 0.5}, fetch_round
    ),
    "run": Row("an unchanged run", "files", FILES, 20_000, {CLIENT: 0.8, NODE: 0.6}, run_unchanged),
    "submit": Row("a job without files", "earlier jobs", JOBS, 1_000, {CLIENT: 0.1, NODE: 0.3}, submit_more),
    "queue": Row("a queued job", "queued jobs", QUEUED, 500, {NODE: 3.0}, queue, unit="MB"),
    "head": Row("the head of the queue", "earlier jobs", JOBS, 1_000, {NODE: 1.0}, wait_at_head, unit="% of a core"),
    "list-jobs": Row("jobs", "jobs", JOBS, 1_000, {CLIENT: 1.0, NODE: 1.0}, list_jobs),
    "look": Row("top", "jobs", JOBS, 1_000, {CLIENT: 0.1, NODE: 0.2}, look),
    "latest": Row("logs without a number", "jobs", JOBS, 1_000, {CLIENT: 0.1, NODE: 0.2}, find_latest),
    "mask": Row("masking 10 MB, one key", "lines", (1, 27, 270, 2_700), 2_700, {NODE: 0.1}, mask_keys),
    "mask-short": Row("masking 10 MB, short secrets", "secrets", (1, 10, 100), 100, {NODE: 0.1}, mask_short),
    "tail": Row("logs -n", "lines", (10_000, 100_000, 1_000_000), 1_000_000, {CLIENT: 0.1, NODE: 1.0}, find_tail),
    "bar": Row("a progress bar into a file", "MB", (1, 5), 5, {CLIENT: 0.1}, print_bar, unit="MB"),
}
