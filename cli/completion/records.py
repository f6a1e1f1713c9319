"""Completion candidates from this computer's records, without network access."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from cli.options.context import choose_name, runs_here
from infra import state
from infra.ledger import choice, known_clusters
from infra.project.settings import read_settings
from infra.results.receipts import RECEIPT, read_receipt

Candidates = Iterator[tuple[str, str]]
"""Values, each with a short description or ""."""
MOST_RECEIPTS = 50
"""How many of the latest receipts are read for job names."""
PLAIN = re.compile(r"[\w.+-]+")
"""Names that need no quotes in any shell; a receipt may come from someone else's project."""
PLAIN_PATH = re.compile(r"[\w.+/-]+")
GPUS = {
    "T4": "16 GB",
    "A10G": "24 GB",
    "L4": "24 GB",
    "L40S": "48 GB",
    "A100": "40 or 80 GB",
    "H100": "80 GB",
    "H200": "141 GB",
    "B200": "192 GB",
}
REGIONS = (
    *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"),
    *("eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1", "eu-south-1", "eu-south-2"),
    *("ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2"),
    *("ap-southeast-3", "ap-east-1", "me-central-1", "il-central-1", "af-south-1"),
)


def list_clusters(_: click.Context) -> Candidates:
    """Yield the clusters known on this computer."""
    for name in choice.list_known():
        known = known_clusters.recall(name)
        yield name, f"{known.node.instance_type}, {known.region}" if known else "launch incomplete"


def list_jobs(context: click.Context) -> Candidates:
    """Yield the numbers of a cluster's jobs, latest first, then the jobs' names."""
    cluster = choose_name(context.params.get("cluster"))
    found = {int(path.stem): "" for path in state.submissions_folder(cluster).glob("*.json") if path.stem.isdigit()}
    names: dict[str, str] = {}
    receipts = sorted(runs_here().glob(f"{cluster}-*/{RECEIPT}"), key=find_number, reverse=True)
    for path in receipts[:MOST_RECEIPTS]:
        job = (read_receipt(path.parent) or {}).get("job", {})
        number, name, state_of = job.get("number"), job.get("name"), job.get("state")
        if isinstance(number, int):
            found[number] = " ".join(str(word) for word in (name, state_of) if word)
            names |= {name: f"job {number}"} if isinstance(name, str) and PLAIN.fullmatch(name) else {}
    yield from ((str(number), found[number]) for number in sorted(found, reverse=True))
    yield from names.items()


def list_earlier(context: click.Context) -> Candidates:
    """Yield the runs whose outputs a job can start with."""
    yield "latest", "the latest run of this project"
    yield from list_jobs(context)


def list_datasets(_: click.Context) -> Candidates:
    """Yield the data sets of the project."""
    yield from (
        (path, address)
        for path, address in read_settings(runs_here().parent).data.items()
        if PLAIN_PATH.fullmatch(path)
    )


def find_number(receipt: Path) -> int:
    """Return the number in the name of a receipt's folder; 0 without one."""
    number = receipt.parent.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def list_gpus(_: click.Context) -> Candidates:
    """Yield the models of GPUs."""
    yield from GPUS.items()


def list_images(_: click.Context) -> Candidates:
    """Yield the images that always exist, and those of unfinished bakes."""
    yield from {"dlami": "AWS Deep Learning AMI", "ubuntu": "Ubuntu"}.items()
    yield from ((path.stem, "bake incomplete") for path in sorted((state.state_folder() / "bakes").glob("*.json")))


def list_regions(_: click.Context) -> Candidates:
    """Yield regions, those of existing clusters first."""
    used = [cluster.region for cluster in known_clusters.recall_all()]
    yield from ((region, "") for region in dict.fromkeys([*used, *REGIONS]))


def list_roles(_: click.Context) -> Candidates:
    """Yield the roles of the setup playbook."""
    from infra.setup.inventory import FOLDER  # imports fabric, which the command itself does not need

    yield from ((folder.name, "") for folder in sorted((FOLDER / "roles").iterdir()) if folder.is_dir())
