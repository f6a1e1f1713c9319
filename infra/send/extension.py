"""Move the end of a sent job: for its machines, for those to come, and at last in AWS.

Killed in between, AWS ends the group at the earlier time. In another order, it would go on replacing machines whose own lease
has ended.
"""

import base64
import json
from dataclasses import replace
from typing import Any

from infra.cluster import groups as waiting
from infra.cluster.clusters import explain_gone, open_known
from infra.ec2.account import Account
from infra.ec2.errors import aws_errors
from infra.ec2.machines import instances
from infra.ec2.machines.lease import IPV4_HOUR_USD
from infra.ec2.machines.userdata import move_lease
from infra.ec2.scaling import groups
from infra.ec2.scaling.activities import resume_launches
from infra.ec2.storage.objects import Store
from infra.ec2.storage.writing import put_object
from infra.ec2.tags import LEASE_TAG, format_time, resource_name
from infra.errors import GpujobError
from infra.ledger import known_clusters
from infra.model import Cluster
from infra.send.creation import END_S


def most_usd(account: Account, cluster: Cluster, until: float) -> float:
    """Return the most that a group costs from its creation to a time, over all replacements."""
    group = groups.find_group(account, cluster.name)
    hourly = group.hour_usd + (0.0 if group.private else IPV4_HOUR_USD)
    return group.capacity * hourly * (until - group.made_at + END_S) / 3600


def find(cluster: Cluster) -> tuple[Account, Cluster]:
    """Return a sent job's cluster as it is now, and its account; raises GoneError if it ended."""
    account = open_known(cluster)
    found = waiting.find_sent(account, cluster.name)
    if found is None or not groups.find_group(account, cluster.name).capacity:
        raise explain_gone(cluster, account)
    return account, found


def extend(account: Account, cluster: Cluster, until: float) -> Cluster:
    """Move the end of a sent job's lease; return the cluster. Raises CloudError if it has ended."""
    group = groups.find_group(account, cluster.name)
    write_lease(account, group, until)
    try:
        renew_template(account, cluster.name, until)
        groups.set_tags(account, group.name, {LEASE_TAG: format_time(until)})
        groups.move_end(account, cluster.name, until)
        if group.halted:
            resume_launches(account, group.name)
    except GpujobError:
        write_lease(account, group, group.lease_until)  # else its machines would expect no end, and not save before it
        raise
    members = [node.instance_id for node in cluster.nodes if node.instance_id]
    if members:
        instances.tag(account, members, {LEASE_TAG: format_time(until)})
    return known_clusters.remember(replace(cluster, lease_until=until))


def write_lease(account: Account, group: groups.Group, until: float) -> None:
    """Tell the machines that work now, which read it from the bucket."""
    key = f"{group.cluster}/{group.token}/lease.json"
    put_object(Store(account, group.bucket), key, json.dumps({"until": until}).encode())


def renew_template(account: Account, name: str, until: float) -> None:
    """Let the machines that the group launches from now on end at a time; it launches the latest version.

    All else is inherited: EC2 describes a template with fields that no request may have, such as the state of its options.
    """
    title = f"{resource_name(name)}-on-demand"
    with aws_errors():
        found = account.ec2.describe_launch_template_versions(LaunchTemplateName=title, Versions=["$Latest"])
        [latest] = found["LaunchTemplateVersions"]
        data = latest["LaunchTemplateData"]
        text = move_lease(base64.b64decode(data["UserData"]).decode(), until)
        tags: Any = data.get("TagSpecifications", [])
        for each in tags:
            for tag in each["Tags"]:
                tag["Value"] = format_time(until) if tag["Key"] == LEASE_TAG else tag["Value"]
        account.ec2.create_launch_template_version(
            LaunchTemplateName=title,
            SourceVersion=str(latest["VersionNumber"]),
            LaunchTemplateData={"UserData": base64.b64encode(text.encode()).decode(), "TagSpecifications": tags},
        )
