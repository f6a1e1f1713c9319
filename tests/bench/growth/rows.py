"""What grows, by name: each row makes what it needs in an empty folder, and measures one action on it."""

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path

from cli.terminal.output import Output as Printer
from infra.fetch.outputs import EVERYTHING, Wanted, fetch
from infra.node import client
from infra.node.agent.job.mask import Mask
from infra.ssh.connection import Connection
from tests.bench.growth.curve import Measure, Row
from tests.bench.growth.machine import Machine, Spent, measure, start

OUTPUTS = (100, 1_000, 10_000, 20_000)
JOBS = (1, 100, 1_000)
LINE = b"an ordinary line of a job's output, of which there are many, with a loss of 0.123\n"
WRITE = "import sys, os; os.mkdir('out'); [open(f'out/{n:06}', 'w').write(str(n)) for n in range(int(sys.argv[1]))]"


def run_outputs(machine: Machine, count: int) -> int:
    """Run a job that writes files; return its number."""
    return machine.run_job("python3", "-c", WRITE, str(count)).number


def take(machine: Machine, folder: Path, number: int, wanted: Wanted = EVERYTHING) -> Spent:
    """Fetch a job; return what that cost."""
    return measure(lambda: fetch(machine.connection, number, folder / "project/runs", lambda _: None, wanted))


def fetch_first(folder: Path, count: int) -> Spent:
    """Download a job's outputs."""
    with start(folder) as machine:
        return take(machine, folder, run_outputs(machine, count))


def fetch_again(folder: Path, count: int) -> Spent:
    """Download a job's outputs that are already here."""
    with start(folder) as machine:
        number = run_outputs(machine, count)
        take(machine, folder, number)
        return take(machine, folder, number)


def fetch_round(folder: Path, count: int) -> Spent:
    """Look for new outputs, as while a job runs, where there are none."""
    with start(folder) as machine:
        number, runs = run_outputs(machine, count), folder / "project/runs"
        last = fetch(machine.connection, number, runs, lambda _: None, Wanted(settled=True))
        while len(last.told.outputs) < count:  # those that were written in the last second count as unfinished
            last = fetch(machine.connection, number, runs, lambda _: None, Wanted(settled=True, before=last))
        return take(machine, folder, number, Wanted(settled=True, before=last))


def list_jobs(folder: Path, count: int) -> Spent:
    """List the jobs of a node."""
    return call_with_jobs(folder, count, client.list_jobs)


def look(folder: Path, count: int) -> Spent:
    """Look at a node, as `top` does each time."""
    return call_with_jobs(folder, count, lambda connection: client.look(connection, 5))


def find_latest(folder: Path, count: int) -> Spent:
    """Find the latest job, as `logs` does without a number."""
    return call_with_jobs(folder, count, client.find_job)


def call_with_jobs(folder: Path, count: int, call: Callable[[Connection], object]) -> Spent:
    """Call the agent of a node that has run many jobs, for the second time."""
    with start(folder) as machine:
        machine.copy_job(machine.run_job("true").number, count - 1)
        call(machine.connection)
        return measure(lambda: call(machine.connection))


def on_client(action: Callable[[Path, int], Spent]) -> Measure:
    """Return what the client spends on something."""
    return lambda folder, count: action(folder, count).client_s


def on_node(action: Callable[[Path, int], Spent]) -> Measure:
    """Return what the node spends on something."""
    return lambda folder, count: action(folder, count).node_s


def mask_keys(_: Path, lines: int) -> float:
    """Mask 10 MB of output, for a key of many lines."""
    return mask(["\n".join(base64.b64encode(os.urandom(48)).decode() for _ in range(lines))])


def mask_short(_: Path, count: int) -> float:
    """Mask 10 MB of output, for many short secrets."""
    return mask([base64.b32encode(os.urandom(4)).decode()[:5].lower() for _ in range(count)])


def mask(secrets: list[str]) -> float:
    """Mask 10 MB of output."""
    chunk, filtered = LINE * (65536 // len(LINE)), Mask(secrets)
    return measure(lambda: [filtered.feed(chunk) for _ in range(10_000_000 // len(chunk))]).client_s


def find_tail(folder: Path, lines: int) -> float:
    """Find the last lines of a log, on the node."""
    with start(folder) as machine:
        number = machine.run_job("true").number
        log = machine.jobs / str(number) / "log"
        log.write_bytes(LINE * lines)
        return measure(lambda: client.find_tail(machine.connection, number, lines - 1)).node_s


def print_bar(_: Path, megabytes: int) -> float:
    """Return how much of a progress bar without a newline reaches a file, in megabytes."""
    reached = io.BytesIO()
    printer, chunk = Printer(stream=reached), b"epoch 1: 100/1000 [####      ] loss 0.123\r" * 24
    for _ in range(megabytes * 1_000_000 // len(chunk)):
        printer.write(chunk)
    printer.flush()
    return reached.tell() / 1e6


ROWS = {
    "fetch": Row("fetch, client", "outputs", OUTPUTS, (10_000, 2.0), on_client(fetch_first)),
    "fetch-node": Row("fetch, node", "outputs", OUTPUTS, (10_000, 2.0), on_node(fetch_first)),
    "fetch-again": Row("fetch with everything here, client", "outputs", OUTPUTS, (10_000, 1.0), on_client(fetch_again)),
    "fetch-again-node": Row(
        "fetch with everything here, node", "outputs", OUTPUTS, (10_000, 1.0), on_node(fetch_again)
    ),
    "fetch-round": Row(
        "a round of downloads with nothing new, client", "outputs", OUTPUTS, (10_000, 0.1), on_client(fetch_round)
    ),
    "fetch-round-node": Row(
        "a round of downloads with nothing new, node", "outputs", OUTPUTS, (10_000, 0.5), on_node(fetch_round)
    ),
    "list-jobs": Row("jobs, client", "jobs", JOBS, (1_000, 1.0), on_client(list_jobs)),
    "list-jobs-node": Row("jobs, node", "jobs", JOBS, (1_000, 1.0), on_node(list_jobs)),
    "look-node": Row("top, node", "jobs", JOBS, (1_000, 0.2), on_node(look)),
    "latest-node": Row("logs without a number, node", "jobs", JOBS, (1_000, 0.2), on_node(find_latest)),
    "mask": Row("masking 10 MB, one key", "lines", (1, 27, 270, 2_700), (2_700, 0.1), mask_keys),
    "mask-short": Row("masking 10 MB, short secrets", "secrets", (1, 10, 100), (100, 0.1), mask_short),
    "tail": Row("logs -n, node", "lines", (10_000, 100_000, 1_000_000), (1_000_000, 1.0), find_tail),
    "bar": Row("a progress bar into a file", "MB", (1, 5), (5, 0.1), print_bar, unit="MB"),
}
