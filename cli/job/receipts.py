"""The record of a job, for a person: receipt."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from cli.notices.results import list_deviations
from cli.options.context import choose_name, runs_here
from cli.options.declared import cluster_option, json_option, transfer_option
from cli.terminal import clouds, formats, show
from infra.errors import GpujobError
from infra.ledger.traffic import transfer_usd
from infra.results.receipts import Shelved, find_receipt, make_receipt
from infra.run.origins import choose_runs

SHOWN_OUTPUTS = 20
# What comes of a receipt that is not as we write them: it may have come with somebody else's project.
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError)


@click.command()
@click.argument("job", type=click.IntRange(1), required=False)
@cluster_option
@transfer_option
@json_option
def receipt(job: int | None, cluster: str | None, usd_per_gb: float, as_json: bool) -> None:
    """Show the record of JOB, by default the latest downloaded.

    It tells what ran, on what, how it ended, what it cost and wrote.
    A receipt that was downloaded is read from runs/, also when the machine is long gone.
    """
    name = choose_name(cluster)
    found = find_receipt(choose_runs(name, job, runs_here()), name, job)
    if found and job is None:
        job = found["job"].get("number")
        show.say(f"job {job} is the latest with results here; gpujob jobs lists all")
    if found is None or found["job"].get("state") in ("queued", "running", "stalled"):
        try:
            found = ask_node(cluster, job)
        except GpujobError as error:
            if found is None:
                raise
            show.say(f"as it was at the last download: {error.what}")
    if as_json:
        show.echo_json(found)
        return
    try:
        lines, outputs = {**render(found), **render_download(found, usd_per_gb)}, render_outputs(found)
    except DAMAGED as error:
        what = f"this receipt is not one that gpujob wrote: {type(error).__name__} {error}"
        raise GpujobError(what, "gpujob receipt --json shows it as it is") from error
    show.facts(lines, err=False)
    show.echo("\n".join(outputs))


def ask_node(name: str | None, number: int | None) -> Mapping[str, Any]:
    """Return the receipt of a job as its machine reports it now."""
    # they load fabric; most receipts are read from this computer
    from cli.steps.reach import reach_job
    from infra.node import client

    with reach_job(name, number) as (cluster, connection, job):
        found, told = client.list_outputs(connection, job.number)
    inside, outside = (tuple(each for each in told.outputs if each.outside == apart) for apart in (False, True))
    receipt = replace(make_receipt(cluster, found, inside), outside=Shelved(outside))
    plain: dict[str, Any] = json.loads(json.dumps(receipt.to_dict()))
    return plain


def render(receipt: Mapping[str, Any]) -> dict[str, str]:
    """Return the lines of a receipt, without those that are empty."""
    job = receipt["job"]
    source = job.get("source", {})
    records = {"changes.patch": "changes_sha256", "changes.json": "record_sha256"}
    differing = " and ".join(name for name, key in records.items() if source.get(key))
    where = "a dry run on the local cloud" if clouds.is_local(receipt["cloud"]) else receipt["region"]
    lines = {
        "job": f"{job['number']} on '{receipt['cluster']}'" + (f", {job['name']}" if job["name"] else ""),
        "command": shlex.join(job["command"]),
        "ended": f"{job['state']}, exit code {job['exit_code']}" if job["exit_code"] is not None else job["state"],
        "because": job["reason"],
        "states": ", ".join(f"{state} {formats.clock(at)}" for state, at in receipt.get("states", ())),
        "took": "" if job["seconds"] is None else formats.duration(job["seconds"]),
        "cost": "" if receipt["usd"] is None else clouds.cost(receipt["usd"], receipt["cloud"]),
        "commit": f"{source['commit']}{differing and f', changed: {differing}'}" if source.get("commit") else "",
        "snapshot": source.get("snapshot", ""),
        "dependencies": job.get("dependencies", ""),
        "python": job.get("python", ""),
        "machine": f"{receipt['instance_type']} {receipt.get('market', '')}, {where}, {receipt.get('instance_id', '')}",
        "image": receipt.get("image", ""),
        "gpu": receipt["gpu"] + (f", driver {receipt['driver']}" if receipt.get("driver") else ""),
    }
    return {name: show.printable(str(text)) for name, text in lines.items() if text}


def render_download(receipt: Mapping[str, Any], usd_per_gb: float) -> dict[str, str]:
    """Return the line of a receipt on how much was downloaded, and what the transfer cost."""
    size_bytes = receipt.get("downloaded_bytes", 0)
    if not size_bytes:
        return {}
    price = clouds.cost(transfer_usd(size_bytes, usd_per_gb), receipt["cloud"])
    return {"downloaded": f"{formats.size(size_bytes)}; data transfer {price}"}


def render_outputs(receipt: Mapping[str, Any]) -> list[str]:
    """Return lines on what a job wrote, the largest files first, with the beginning of each hash."""
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
        lines.append(f"    and {len(outputs) - SHOWN_OUTPUTS} more; --json shows all")
    for shelved in (receipt, receipt.get("outside", {})):
        deviations = list_deviations(shelved.get("renamed", ()), shelved.get("withheld", ()))
        lines += [f"    {line}" for line in deviations[:SHOWN_OUTPUTS]]
    return lines
