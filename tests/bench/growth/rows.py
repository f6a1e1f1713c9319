"""What grows, by name: each row makes what it needs in an empty folder, and measures one action on it."""

import base64
import io
import os
from pathlib import Path

from cli.terminal.output import Output as Printer
from infra.fetch.outputs import EVERYTHING, Wanted, fetch
from infra.node import client
from infra.node.agent.job.mask import Mask
from tests.bench.growth.curve import Row
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


def fetch_first(folder: Path, count: int) -> float:
    """Download a job's outputs."""
    with start(folder) as machine:
        return take(machine, folder, run_outputs(machine, count)).client_s


def fetch_again(folder: Path, count: int) -> float:
    """Download a job's outputs that are already here."""
    with start(folder) as machine:
        number = run_outputs(machine, count)
        take(machine, folder, number)
        return take(machine, folder, number).client_s


def fetch_round(folder: Path, count: int) -> float:
    """Look for new outputs, as while a job runs, where there are none."""
    with start(folder) as machine:
        number = run_outputs(machine, count)
        take(machine, folder, number)
        return take(machine, folder, number, Wanted(settled=True)).client_s


def list_jobs(folder: Path, count: int) -> float:
    """List the jobs of a node, on the client."""
    with start(folder) as machine:
        machine.copy_job(machine.run_job("true").number, count - 1)
        return measure(lambda: client.list_jobs(machine.connection)).client_s


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
    "fetch": Row("fetch, client", "outputs", OUTPUTS, (10_000, 2.0), fetch_first),
    "fetch-again": Row("fetch with everything here, client", "outputs", OUTPUTS, (10_000, 1.0), fetch_again),
    "fetch-round": Row("a round of downloads with nothing new, client", "outputs", OUTPUTS, (10_000, 0.1), fetch_round),
    "list-jobs": Row("jobs, client", "jobs", JOBS, (1_000, 1.0), list_jobs),
    "mask": Row("masking 10 MB, one key", "lines", (1, 27, 270, 2_700), (2_700, 0.1), mask_keys),
    "mask-short": Row("masking 10 MB, short secrets", "secrets", (1, 10, 100), (100, 0.1), mask_short),
    "tail": Row("logs -n, node", "lines", (10_000, 100_000, 1_000_000), (1_000_000, 1.0), find_tail),
    "bar": Row("a progress bar into a file", "MB", (1, 5), (5, 0.1), print_bar, unit="MB"),
}
