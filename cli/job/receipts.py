"""Show a job's record: receipt."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import click

from cli.facts.jobs import receipt_facts
from cli.notices.results import list_deviations
from cli.options.context import choose_name, runs_here
from cli.options.declared import cluster_option, json_option, transfer_option
from cli.options.values import JobName, parse_job
from cli.terminal import clouds, formats, show
from infra.base.money import transfer_usd
from infra.errors import GoneError, GpujobError, NotFoundError
from infra.ledger import known_clusters
from infra.model import UNFINISHED
from infra.results.receipts import Shelved, find_home, find_receipt, make_receipt, read_receipt
from infra.run.origins import choose_runs

SHOWN_OUTPUTS = 20
# Errors from a receipt that gpujob did not write; it may come from someone else's project.
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)


@click.command()
@click.argument("job", type=parse_job, required=False)
@cluster_option
@transfer_option
@json_option
def receipt(job: JobName | None, cluster: str | None, usd_per_gb: float, as_json: bool) -> None:
    """Show a job's record: command, machine, cost, outputs.

    JOB is a number or a name, by default the latest downloaded job. Downloaded receipts are read from runs/, also after
    the machine was terminated.
    """
    name = choose_name(cluster)
    number = find_number(name, job) if isinstance(job, str) else job
    known = number is not None or job is None
    found = find_receipt(choose_runs(name, number, runs_here()), name, number) if known else None
    job = number or job
    if found and job is None:
        job = found["job"].get("number")
        downloaded = "downloaded " * (found["job"].get("state") not in UNFINISHED)
        show.say(f"job {job} is the latest {downloaded}job. List all: gpujob jobs")
    if found is None or found["job"].get("state") in UNFINISHED:
        try:
            found = ask_node(cluster, job)
        except GpujobError as error:
            if found is None:
                raise
            show.say(f"showing the last downloaded state: {error.what}")
    elif known_clusters.recall(name) is None:
        show.say(f"no cluster '{name}' on this computer; showing the receipt saved in runs/")
    results = find_results(name, found)
    if as_json:
        show.echo_json({**receipt_facts(found), "results": results})
        return
    try:
        lines, outputs = {**render(found), **render_download(found, usd_per_gb)}, render_outputs(found)
        lines |= {"results": results} if results else {}
    except DAMAGED as error:
        what = f"invalid receipt: {type(error).__name__} {error}"
        raise GpujobError(what, "show it unformatted: gpujob receipt --json") from error
    show.facts(lines, err=False)
    show.echo("\n".join(outputs))


def find_results(cluster: str, found: Mapping[str, Any]) -> str | None:
    """Return the folder with a job's results on this computer; None without one."""
    with suppress(*DAMAGED):
        number = found["job"]["number"]
        home = find_home(choose_runs(cluster, number, runs_here()), found["cluster"], number)
        return str(home) if home.is_dir() else None
    return None


def find_number(cluster: str, name: str) -> int | None:
    """Return the number of the latest downloaded job with this name; None if there is none."""
    receipts = filter(None, map(read_receipt, runs_here().glob(f"{cluster}-*")))
    numbers = [each["job"].get("number") for each in receipts if each["job"].get("name") == name]
    return max((number for number in numbers if isinstance(number, int)), default=None)


def ask_node(name: str | None, number: JobName | None) -> Mapping[str, Any]:
    """Return a job's current receipt from its machine."""
    # these load fabric; most receipts are read from this computer
    from cli.steps.reach import reach_job
    from cli.uploads.jobs import find_last_saved
    from infra.cluster.connections import find_prices
    from infra.node import client
    from infra.node.tasks import list_tasks

    try:
        with reach_job(name, number) as (cluster, connection, job):
            found, listed = client.list_outputs(connection, job.number)
            tasks = list_tasks(connection, job.number) if found.tasks else ()
    except (NotFoundError, GoneError) as error:
        saved = find_last_saved(error, choose_name(name), number)
        cluster, (found, listed), tasks = saved.cluster, saved.list_outputs(), saved.tasks
    inside, outside = (tuple(each for each in listed.outputs if each.outside == apart) for apart in (False, True))
    receipt = replace(make_receipt(find_prices(cluster), found, inside), outside=Shelved(outside), tasks=tasks)
    plain: dict[str, Any] = json.loads(json.dumps(receipt.to_dict()))
    return plain


def render(receipt: Mapping[str, Any]) -> dict[str, str]:
    """Return the non-empty lines of a receipt."""
    job = receipt["job"]
    source = job.get("source", {})
    records = {"changes.patch": "changes_sha256", "changes.json": "record_sha256"}
    differing = " and ".join(name for name, key in records.items() if source.get(key))
    where = "a dry run on the local cloud" if clouds.is_local(receipt["cloud"]) else receipt["region"]
    kind = f"{receipt['instance_type']} {receipt.get('market', '')}".strip()
    lines = {
        "job": f"{job['number']} on '{receipt['cluster']}'" + (f", {job['name']}" if job["name"] else ""),
        "command": shlex.join(job["command"]),
        "state": describe_state(job),
        "reason": job["reason"],
        "tasks": count_states(receipt.get("tasks", ())),
        "history": ", ".join(f"{state} {formats.clock(at)}" for state, at in receipt.get("states", ())),
        "peak memory": formats.memory(job["peak_memory_bytes"]) if job.get("peak_memory_bytes") else "",
        "duration": "" if job["seconds"] is None else formats.duration(job["seconds"]),
        "cost": ""
        if receipt["usd"] is None
        else clouds.cost(receipt["usd"], receipt["cloud"], unsure=bool(receipt.get("at_most"))),
        "commit": f"{source['commit']}{differing and f', modified: {differing}'}" if source.get("commit") else "",
        "snapshot": source.get("snapshot", ""),
        "dependencies": job.get("dependencies", ""),
        "python": job.get("python", ""),
        "machine": ", ".join(filter(None, (kind, where, receipt.get("instance_id", "")))),
        "image": receipt.get("image", ""),
        "gpu": receipt["gpu"] + (f", driver {receipt['driver']}" if receipt.get("driver") else ""),
    }
    return {name: show.printable(str(text)) for name, text in lines.items() if text}


def count_states(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return how many tasks of an array are in which state: 37 succeeded, 1 failed."""
    counts = Counter(str(task["state"]) for task in tasks)
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())


def describe_state(job: Mapping[str, Any]) -> str:
    """Return a recorded job's state and exit code."""
    preempted = job.get("preempted") and job["state"] in ("failed", "interrupted")
    code = "" if job["exit_code"] is None else f" (exit {job['exit_code']})"
    return f"{'preempted' if preempted else job['state']}{code}"


def render_download(receipt: Mapping[str, Any], usd_per_gb: float) -> dict[str, str]:
    """Return the line of a receipt about the size and cost of downloads."""
    size_bytes = receipt.get("downloaded_bytes", 0)
    if not size_bytes:
        return {}
    price = clouds.cost(transfer_usd(size_bytes, usd_per_gb), receipt["cloud"])
    return {"downloaded": f"{formats.size(size_bytes)}; data transfer {price}"}


def render_outputs(receipt: Mapping[str, Any]) -> list[str]:
    """Return lines about a job's outputs, largest first, with the start of each hash."""
    outside = [
        {**output, "path": f"outside/{output['path']}"} for output in receipt.get("outside", {}).get("outputs", ())
    ]
    outputs = sorted([*receipt["outputs"], *outside], key=lambda output: -output["size_bytes"])
    lines = [f"  {formats.plural(len(outputs), 'output')} ({formats.size(sum(o['size_bytes'] for o in outputs))})"]
    for output in outputs[:SHOWN_OUTPUTS]:
        what = f"-> {output['link']}" if output["link"] is not None else output["sha256"][:16]
        path, size = show.printable(output["path"]), formats.size(output["size_bytes"])
        lines.append(f"    {size:>10}  {show.printable(what):<16}  {path}")
    if len(outputs) > SHOWN_OUTPUTS:
        lines.append(f"    and {len(outputs) - SHOWN_OUTPUTS} more (--json shows all)")
    for shelved in (receipt, receipt.get("outside", {})):
        deviations = list_deviations(shelved.get("renamed", ()), shelved.get("withheld", ()))
        lines += [f"    {line}" for line in deviations[:SHOWN_OUTPUTS]]
    return lines
