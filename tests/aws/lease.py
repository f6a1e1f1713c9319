"""Checks of a machine that ends itself, on the spot market if the account has it."""

import time
from typing import Any

from infra.ec2.machines.userdata import format_until
from infra.ec2.tags import CLUSTER_TAG
from infra.ssh.keys import read_host_keys, read_pins
from tests.aws.session import FailedError, NotRunError, Session


def check_console(session: Session) -> str:
    """A machine launches, and its host keys are those on its console."""
    session.launch("lease", "--spot-first", "--idle-stop", "never")
    node = session.find("lease")["nodes"][0]
    session.facts["lease"] = node
    pins = read_pins(session.state / "clusters" / session.name("lease") / "known_hosts").get(node["instance_id"], ())
    ec2 = session.client("ec2")
    console = ec2.get_console_output(InstanceId=node["instance_id"], Latest=True).get("Output", "")
    keys = read_host_keys(console)
    if not pins or not set(pins) <= set(keys):
        raise FailedError(f"{len(pins)} keys are pinned, {len(keys)} are on the console, and they differ")
    return f"{len(pins)} keys; {node['instance_type']} {node['market']} in {node['zone']}"


def check_prices(session: Session) -> str:
    """The past prices of the spot machine are known."""
    cluster = session.find("lease")
    node = cluster["nodes"][0]
    if node["market"] != "spot":
        raise NotRunError("the account got no spot machine")
    if cluster["at_most"]:
        raise FailedError("AWS did not say what the machine costs: see the log of gpujob ls")
    return f"{node['usd_per_hour']} USD per hour now"


def check_armed(session: Session) -> str:
    """The machine's own timer has the end of the lease."""
    told, armed = session.find_end("lease"), session.read_lease("lease")
    if told != armed:
        raise FailedError(f"the lease ends at {told}, but the machine's timer is set to {armed}")
    return "the machine's timer has the end"


def check_moved(session: Session) -> str:
    """`extend` moves it, in the tags and on the machine."""
    before = session.read_lease("lease")
    session.gpujob("extend", session.name("lease"), "10m", "--yes")
    told, armed = session.find_end("lease"), session.read_lease("lease")
    if not told == armed == before + 600:
        raise FailedError(f"from {before} by 600 s to {told}, and to {armed} on the machine")
    return "by 10 minutes"


def check_expired(session: Session) -> str:
    """At its end the machine powers itself off, and EC2 terminates it."""
    ec2, instance = session.client("ec2"), session.facts["lease"]["instance_id"]
    [volume] = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    session.facts["volume"] = volume["VolumeId"]
    end = format_until(time.time() + (3 if session.local else 60))
    session.gpujob("ssh", session.name("lease"), "--", "sudo", "gpujob-lease", end)
    started = time.monotonic()

    def look() -> Any:
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        return found if found["State"]["Name"] not in ("running", "shutting-down") else None

    found = session.wait(look, "end of the machine after its lease", 600)
    state, why = found["State"]["Name"], found.get("StateReason", {}).get("Code", "")
    if (state, why) != ("terminated", "Client.InstanceInitiatedShutdown"):
        raise FailedError(f"EC2 says {state}, {why or 'without a reason'}")
    return f"terminated {time.monotonic() - started:.0f} s after its timer was set; {why}"


def check_request(session: Session) -> str:
    """The spot request of the machine is closed, so that it launches no other."""
    if session.facts["lease"]["market"] != "spot":
        raise NotRunError("the account got no spot machine")
    if session.local:
        raise NotRunError("the local cloud has no spot requests")
    words = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [session.name("lease")]}]
    found = session.client("ec2").describe_spot_instance_requests(Filters=words)["SpotInstanceRequests"]
    alive = [one["State"] for one in found if one["State"] in ("open", "active")]
    if alive or not found:
        raise FailedError(f"{len(found)} requests with the cluster's tag, of which {len(alive)} are open or active")
    return ", ".join(f"{one['State']}, {one.get('Status', {}).get('Code', '')}" for one in found)


def check_volume(session: Session) -> str:
    """The machine's disk is deleted with it."""
    ec2, volume = session.client("ec2"), session.facts["volume"]

    def gone() -> bool:
        filters = [{"Name": "volume-id", "Values": [volume]}]
        return not ec2.describe_volumes(Filters=filters)["Volumes"]

    session.wait(gone, "end of the volume", 120)
    return "deleted"
