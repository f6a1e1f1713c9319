"""Verify that a cluster works: measure each node and judge the results."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.base.parallel import map_parallel
from infra.checks.network import judge_ring
from infra.checks.peaks import PLAUSIBLE, peak_tflops
from infra.cluster.connections import reach
from infra.model import Cluster
from infra.node.measures import Disk, Measures, measure
from infra.node.packing import pack_agent
from infra.ssh.link import Link, measure_link

Verdict = Literal["ok", "failed", "not measured"]
SKEW_S = 60.0  # tokens and certificates fail from a few minutes on
LEASE_S = 120.0
FREE_BYTES = 2_000_000_000
MISMATCH = "the driver was replaced while in use; restart: gpujob stop {0}, then gpujob start {0}"
NO_TORCH = "No module named 'torch'"
BETWEEN = "network, nodes"
Judged = tuple[str, Verdict, str]
_link_in_use = threading.Lock()


@dataclass(frozen=True)
class Row:
    """The result of one check on one node."""

    node: str
    check: str
    verdict: Verdict
    found: str


def verify(cluster: Cluster, report: Callable[[str], None]) -> tuple[Row, ...]:
    """Measure all nodes in parallel and return the results; raises NodeError for an unreachable one."""
    report("measuring driver, GPUs, torch, disks and network")
    measured = map_parallel(lambda rank: verify_node(cluster, rank), cluster.ranks)
    rows = [row for rows, _ in measured for row in rows]
    if 1 < len(cluster.nodes) == cluster.together:
        report("measuring the network between the nodes")
        busy = next((found.busy for _, found in measured if found.busy), 0)
        rows += [Row(node, BETWEEN, verdict, found) for node, verdict, found in judge_ring(cluster, busy)]
    return tuple(rows)


def verify_node(cluster: Cluster, rank: int) -> tuple[list[Row], Measures]:
    """Measure one node, and judge what was measured."""
    with reach(cluster, rank) as connection:
        with _link_in_use:  # so that nodes do not compete for this computer's network
            link = measure_link(connection)
        measures = measure(connection)
        skew_s = measures.now - time.time() + link.round_trip_s / 2
    name = cluster.nodes[rank].instance_id
    agent: Judged = ("agent", "ok", Path(pack_agent()[0]).stem)
    rows = [agent, *judge_gpus(measures, cluster), *judge_machine(measures, cluster, skew_s), tell_link(link)]
    return [Row(name, *row) for row in rows], measures


def judge_gpus(measures: Measures, cluster: Cluster) -> list[Judged]:
    """Judge driver, GPUs, torch and matrix product; not measured without a GPU or with a simulated one."""
    pretended = cluster.is_local and measures.smi == "absent"
    if pretended or (cluster.gpu is None and not measures.gpus):
        none = "no GPU on the local cloud" if pretended else "no GPU was requested"
        torch = measures.torch
        seen: Judged = ("torch", "not measured", torch.error) if torch.error else ("torch", "ok", torch.version)
        blank: list[Judged] = [(check, "not measured", none) for check in ("driver", "nvidia-smi", "matrix product")]
        return [*blank[:2], seen, blank[2]]
    driver: Judged = ("driver", "ok", measures.driver) if measures.driver else ("driver", "failed", "not loaded")
    judged = [driver, judge_smi(measures, cluster), judge_torch(measures), judge_product(measures)]
    if cluster.is_local and NO_TORCH in measures.torch.error:  # of this computer, where jobs may install their own
        judged[2:] = [(check, "not measured", measures.torch.error) for check in ("torch", "matrix product")]
    return judged


def judge_smi(measures: Measures, cluster: Cluster) -> Judged:
    """Judge whether nvidia-smi lists the requested GPUs."""
    if "version mismatch" in measures.smi:
        return "nvidia-smi", "failed", f"{measures.smi}: {MISMATCH.format(cluster.name)}"
    if measures.smi:
        return "nvidia-smi", "failed", measures.smi
    listed = ", ".join(f"{gpu.name} ({gpu.memory_bytes / 2**30:.1f} GiB)" for gpu in measures.gpus)
    if cluster.is_local:
        return "nvidia-smi", "ok", f"{listed}: this computer's, in place of {cluster.gpu or 'none'}"
    missing = cluster.gpu is not None and len(measures.gpus) != cluster.gpu_count
    return ("nvidia-smi", "failed", f"{listed}; expected: {cluster.gpu}") if missing else ("nvidia-smi", "ok", listed)


def judge_torch(measures: Measures) -> Judged:
    """Judge whether the jobs' torch sees every GPU."""
    torch = measures.torch
    if torch.error:
        return "torch", "failed", f"{torch.python}: {torch.error}"
    found = f"{torch.version} sees {torch.seen} of {len(measures.gpus)}"
    return "torch", "ok" if torch.seen and torch.seen == len(measures.gpus) else "failed", found


def judge_product(measures: Measures) -> Judged:
    """Judge whether every GPU multiplies matrices at its expected speed."""
    check = "matrix product"
    if measures.busy:
        return check, "not measured", f"job {measures.busy} is using GPUs"
    if not measures.torch.products:
        return check, "failed", "no GPU could be tested"
    results, slow = [], False
    for gpu, product in zip(measures.gpus, measures.torch.products, strict=False):
        peak = peak_tflops(gpu.name)
        of = f" of {peak:g}" if peak else " (expected speed unknown)"
        results.append(f"{product.tflops:.0f}{of} TFLOP/s in {product.kind}")
        slow = slow or (peak is not None and product.tflops < PLAUSIBLE * peak)
    return check, "failed" if slow else "ok", ", ".join(results) + (": too slow" if slow else "")


def judge_machine(measures: Measures, cluster: Cluster, skew_s: float) -> list[Judged]:
    """Judge lease, guard, clock and disks."""
    until = measures.lease_until
    armed = until is not None and abs(until - cluster.lease_until) <= LEASE_S
    left_h = 0.0 if until is None else (until - measures.now) / 3600
    lease = "no timer is armed" if until is None else f"the machine ends in {left_h:.1f} h"
    if until is not None and not armed:
        lease += f", but its tag says {(cluster.lease_until - measures.now) / 3600:.1f} h"
    return [
        ("lease", "ok" if armed else "failed", lease),
        ("guard", "ok", "running") if measures.guarded else ("guard", "failed", "not running"),
        ("clock", "ok" if abs(skew_s) <= SKEW_S else "failed", f"{skew_s:+.1f} s"),
        *((f"disk, {disk.name}", *judge_disk(disk)) for disk in measures.disks),
    ]


def judge_disk(disk: Disk) -> tuple[Verdict, str]:
    """Judge whether a disk is writable and has space; include its speed."""
    if disk.error:
        return "failed", disk.error
    speed = f"writes {disk.written_bytes_s / 1e6:.0f} MB/s, reads {disk.read_bytes_s / 1e6:.0f} MB/s"
    free = f"{disk.free_bytes / 1e9:.1f} GB free"
    return "ok" if disk.free_bytes >= FREE_BYTES else "failed", f"{free}, {speed}"


def tell_link(link: Link) -> Judged:
    """Return the speed of the connection, which is always ok."""
    found = (
        f"{link.up_bytes_s / 1e6:.1f} MB/s up, {link.down_bytes_s / 1e6:.1f} MB/s down,"
        f" {link.round_trip_s * 1e3:.1f} ms round trip"
    )
    return "network", "ok", found
