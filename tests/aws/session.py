"""What the checks share: the command, the account, the names of what they create, and its removal."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from infra.ec2.tags import CLUSTER_TAG, IMAGE_TAG

CLUSTERS = ("lease", "main", "copy", "role", "gpu")
SMALL = ("--instance-type", "t3.micro", "--image", "ubuntu", "--disk", "16")


class FailedError(Exception):
    """A check failed; the message has EC2's own words."""


class NotRunError(Exception):
    """A check could not be run; the message says why."""


class Ended(Protocol):
    """How a command ended."""

    @property
    def code(self) -> int:
        """Its exit code."""

    @property
    def out(self) -> str:
        """Its standard output."""

    @property
    def err(self) -> str:
        """Its standard error."""


class Typist(Protocol):
    """Runs gpujob with these words and further variables to its end, in a project folder."""

    def __call__(self, words: tuple[str, ...], variables: Mapping[str, str]) -> Ended:
        """Run it."""


@dataclass(frozen=True)
class Session:
    """One run of the checks in a region of an account."""

    type: Typist
    client: Callable[[str], Any]
    """Returns the region's client of a service."""
    region: str
    owner: str
    """The caller's ARN without its session, so that colleagues do not remove each other's resources."""
    state: Path
    """gpujob's state folder."""
    project: Path
    local: bool = False
    gpu: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What checks leave to later ones."""

    @property
    def prefix(self) -> str:
        """How the names of everything that is created begin."""
        return f"acceptance-{hashlib.sha256(self.owner.encode()).hexdigest()[:6]}"

    def name(self, cluster: str) -> str:
        """Return the full name of a cluster, or of the image."""
        return f"{self.prefix}-{cluster}"

    def as_caller(self, variables: Mapping[str, str]) -> "Session":
        """Return the session with other credentials."""
        return replace(self, variables=variables)

    def gpujob(self, *words: str) -> str:
        """Run a command and return its output; raises FailedError with what it said."""
        ended = self.type(words, self.variables)
        if ended.code:
            raise FailedError(f"gpujob {' '.join(words)}: exit {ended.code}: {ended.err.strip()[-1500:]}")
        return ended.out

    def launch(self, cluster: str, *words: str, hours: str = "30m") -> None:
        """Launch a cluster."""
        self.gpujob("up", self.name(cluster), *self.launch_words(cluster, *words, hours=hours), "--yes")

    def launch_words(self, cluster: str, *words: str, hours: str = "30m") -> tuple[str, ...]:
        """Return the options of a launch."""
        machine = () if cluster == "gpu" else SMALL
        return (*machine, *words, "--region", self.region, "--max-hours", hours, "--no-setup")

    def find(self, cluster: str) -> dict[str, Any]:
        """Return a cluster as `ls` lists it; raises FailedError if it does not."""
        listed = json.loads(self.gpujob("ls", "--region", self.region, "--json"))
        found = [one for one in listed if one["name"] == self.name(cluster)]
        if not found:
            raise FailedError(f"gpujob ls does not list {self.name(cluster)}")
        return dict(found[0])

    def find_end(self, cluster: str) -> int:
        """Return when a cluster's lease ends as `ls` lists it, in seconds since the epoch."""
        return int(datetime.fromisoformat(self.find(cluster)["lease_until"]).timestamp())

    def read_lease(self, cluster: str) -> int:
        """Return when a machine will power itself off, according to itself."""
        said = self.gpujob("ssh", self.name(cluster), "--", "sudo", "gpujob-lease").strip()
        if not said.isdecimal():
            raise FailedError(f"the machine of {self.name(cluster)} has no active lease: {said!r}")
        return int(said)

    def wait(self, condition: Callable[[], Any], what: str, limit_s: float) -> Any:
        """Return the first true result of a condition; raises FailedError after a time."""
        deadline = time.monotonic() + limit_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise FailedError(f"no {what} within {limit_s:g} s")
            time.sleep(0.2 if self.local else 5)
        return found


def tagged(session: Session) -> list[dict[str, Any]]:
    """Return the filter for everything that the checks create, by cluster or image."""
    return [{"Name": f"tag:{CLUSTER_TAG}", "Values": [f"{session.prefix}-*"]}]


def list_remains(session: Session) -> list[str]:
    """Return what is left of the checks, by kind and id."""
    ec2 = session.client("ec2")
    images = [{"Name": f"tag:{IMAGE_TAG}", "Values": [f"{session.prefix}-*"]}]
    found = [
        one["InstanceId"]
        for each in ec2.describe_instances(Filters=tagged(session))["Reservations"]
        for one in each["Instances"]
        if one["State"]["Name"] != "terminated"
    ]
    for call, key, name, filters in (
        ("describe_volumes", "Volumes", "VolumeId", tagged(session)),
        ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", tagged(session)),
        ("describe_security_groups", "SecurityGroups", "GroupId", tagged(session)),
        ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId", tagged(session)),
        ("describe_key_pairs", "KeyPairs", "KeyPairId", tagged(session)),
        ("describe_images", "Images", "ImageId", images),
        ("describe_snapshots", "Snapshots", "SnapshotId", images),
    ):
        found += [one[name] for one in getattr(ec2, call)(Filters=filters)[key]]
    return found


def clean(session: Session) -> list[str]:
    """Remove everything that this or an earlier run has left; return what could not be removed."""
    failures = []
    for cluster in CLUSTERS:
        words = ("down", session.name(cluster), "--region", session.region, "--force", "--if-exists", "--yes")
        ended = session.type(words, {})
        failures += [ended.err.strip()[-500:]] if ended.code else []
    ended = session.type(
        ("images", "rm", session.name("image"), "--region", session.region, "--if-exists", "--yes"), {}
    )
    failures += [ended.err.strip()[-500:]] if ended.code else []
    with suppress(ClientError):
        session.client("ec2").delete_launch_template(LaunchTemplateName=f"gpujob-{session.name('pools')}")
    if not session.local:
        failures += remove_role(session)
    try:
        return [*failures, *list_remains(session)]
    except (BotoCoreError, ClientError) as error:
        return [*failures, str(error)]


def remove_role(session: Session) -> list[str]:
    """Delete the role of an earlier run; return why it could not be deleted."""
    iam, name = session.client("iam"), session.name("role")
    try:
        with suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_role_policy(RoleName=name, PolicyName="gpujob")
        with suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_role(RoleName=name)
    except (BotoCoreError, ClientError) as error:
        # Without permission to manage roles, none was created.
        return [] if "AccessDenied" in str(error) else [str(error)]
    return []
