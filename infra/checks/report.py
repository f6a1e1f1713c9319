"""A file to attach to a bug report: versions, checks, clusters and the latest log, without secrets."""

import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from infra.base.installation import DISTRIBUTION, FOLDER, find_installer, find_source, find_version
from infra.base.redaction import redact
from infra.base.text import printable
from infra.checks.model import Check
from infra.errors import GpujobError
from infra.model import Cluster, format_gpu
from infra.project.settings import FILE, read_settings
from infra.state import logs_folder, write_private

LIBRARIES = (
    "boto3",
    "botocore",
    "click",
    "cryptography",
    "fabric",
    "paramiko",
    "pathspec",
    "platformdirs",
    "rich",
    "tenacity",
    "ansible-core",
    "moto",
    "asyncssh",
)
OURS = re.compile(
    r"GPUJOB_|AWS_|XDG_|SSH_|GIT_|ANSIBLE_|\w+_proxy$|(LANG|LC_ALL|TERM|PYTHONPATH|VIRTUAL_ENV)$", re.IGNORECASE
)
ACCOUNT = re.compile(r"\b\d{8}(\d{4})\b")
LOG_LINES = 200


def write_report(root: Path, checks: Sequence[Check], clusters: Sequence[Cluster], log: Path | None) -> Path:
    """Write a private report on this computer and the project in `root`; return its path."""
    lines = [*list_versions(), *list_settings(root), *list_checks(checks), *list_clusters(clusters), *read_log(log)]
    path = logs_folder() / f"report-{time.strftime('%Y-%m-%dT%H-%M-%S')}.txt"
    write_private(path, "\n".join(map(clean, lines)) + "\n")
    return path


def clean(line: str) -> str:
    """Return a printable line without secrets, the path of the home folder and full account ids."""
    return ACCOUNT.sub(r"********\1", printable(redact(line)).replace(str(Path.home()), "~"))


def list_versions() -> Iterator[str]:
    """Yield the installed versions and how gpujob was installed."""
    yield f"gpujob {find_version()} ({DISTRIBUTION}), Python {platform.python_version()}, {platform.platform()}"
    yield f"installed by: {shlex.join([*find_installer(Path(sys.prefix)), *find_source('...', FOLDER)])}"
    for name in LIBRARIES:
        try:
            yield f"  {name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            yield f"  {name}: none"


def list_settings(root: Path) -> Iterator[str]:
    """Yield the names, not the values, of settings in the project's file and in variables."""
    try:
        settings = read_settings(root)
    except GpujobError as error:
        yield f"{FILE}: {type(error).__name__}"
    else:
        for table, keys in {**settings.commands, "setup.variables": settings.variables}.items():
            yield f"{FILE} [{table}]: {', '.join(keys) or 'nothing'}"
        yield f"{FILE} [sync]: {len(settings.include)} include, {len(settings.exclude)} exclude"
    yield f"variables: {', '.join(sorted(filter(OURS.match, os.environ))) or 'none'}"


def list_checks(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the results of `gpujob check`."""
    for check in checks:
        yield f"check {check.what}: {'ok' if check.ok else f'failed: {check.detail}'}"


def list_clusters(clusters: Sequence[Cluster]) -> Iterator[str]:
    """Yield the state of each cluster, by number."""
    for number, cluster in enumerate(clusters, 1):
        nodes = ", ".join(f"{node.instance_type} {node.market} {node.state}" for node in cluster.nodes)
        left_h = (cluster.lease_until - time.time()) / 3600
        yield f"cluster {number}: {cluster.cloud} {cluster.region}, gpu {format_gpu(cluster.gpu)}, lease {left_h:+.1f} h: {nodes}"


def read_log(log: Path | None) -> Iterator[str]:
    """Yield the last lines of the latest log."""
    if log is None:
        yield "no log"
        return
    yield f"the end of {log.name}:"
    with log.open(encoding="utf-8", errors="replace") as file:
        yield from (f"  {line}" for line in file.read().splitlines()[-LOG_LINES:])
