"""The checks, in the order in which they run; each returns what it found, and raises FailedError or NotRunError."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.aws import lease, roles
from tests.aws.pools import check_pools, check_tokens
from tests.aws.session import FailedError, NotRunError, Session, clean


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    run: Callable[[Session], str]
    needs: str = ""
    """The check that must have passed before."""


def check_account(session: Session) -> str:
    """`check` finds nothing wrong with credentials, region and images."""
    ended = session.type(("check", "--region", session.region, "--json"), {})
    try:
        found = json.loads(ended.out)
    except ValueError:
        raise FailedError(f"gpujob check: exit {ended.code}: {ended.err.strip()[-1000:]}") from None
    wrong = [f"{one['what']}: {one['detail']}" for one in found if not one["ok"]]
    # An account without a quota for GPU machines can still run everything but --gpu.
    if [one for one in found if not one["ok"] and "quota" not in one["what"].lower()]:
        raise FailedError("; ".join(wrong))
    return "; ".join(wrong) or f"{len(found)} checks"


def check_images(session: Session) -> str:
    """AWS publishes the images under the parameter names that `up` asks for."""
    names = []
    for image in ("dlami", "ubuntu"):
        words = ("--instance-type", "t3.micro", "--image", image, "--region", session.region)
        plan = json.loads(session.gpujob("up", session.name("main"), *words, "--plan", "--json"))
        names.append(f"{image}: {plan['choices'][0]['image']['name']}")
        session.facts[image] = plan["choices"][0]["image"]["image_id"]
    return "; ".join(names)


def check_stop(session: Session) -> str:
    """A machine launched on demand stops."""
    session.launch("main", "--idle-stop", "never")
    session.gpujob("stop", session.name("main"), "--yes")
    found = session.find("main")
    if found["nodes"][0]["state"] != "stopped" or not found["nodes"][0]["stopped_at"]:
        raise FailedError(f"EC2 says {found['nodes'][0]['state']}, stopped at {found['nodes'][0]['stopped_at']}")
    return "EC2 says when"


def check_start(session: Session) -> str:
    """It starts again as another type, and its new lease is armed."""
    session.gpujob("start", session.name("main"), "--instance-type", "t3.small", "--max-hours", "45m", "--yes")
    [node] = session.find("main")["nodes"]
    if node["instance_type"] != "t3.small":
        raise FailedError(f"it is a {node['instance_type']}, not a t3.small")
    told, armed = session.find_end("main"), session.read_lease("main")
    if told != armed:
        raise FailedError(f"the lease ends at {told}, but the machine's timer is set to {armed}")
    return "the machine's timer has the new end"


def check_job(session: Session) -> str:
    """A job runs, and its outputs are downloaded."""
    words = ("--cluster", session.name("main"), "--no-deps", "--", "sh", "-c", "echo hello > out.txt")
    session.gpujob("run", *words)
    found = list(session.project.glob(f"runs/{session.name('main')}-*/files/out.txt"))
    if not found or found[0].read_text() != "hello\n":
        raise FailedError("its output was not downloaded")
    return "its output was downloaded"


def check_bake(session: Session) -> str:
    """An image of the machine is made."""
    session.gpujob("bake", session.name("main"), "--as", session.name("image"), "--yes")
    listed = json.loads(session.gpujob("images", "--region", session.region, "--json"))
    [image] = [one for one in listed if one["name"] == session.name("image")]
    if image["state"] != "available":
        raise FailedError(f"the image is {image['state']}")
    return f"{image['size_gb']:.0f} GiB"


def check_boot(session: Session) -> str:
    """The image boots, with host keys and a lease of its own."""
    session.gpujob("down", session.name("main"), "--yes")
    session.launch("copy", "--image", session.name("image"), "--idle-stop", "never")
    told, armed = session.find_end("copy"), session.read_lease("copy")
    if told != armed:
        raise FailedError(f"the lease ends at {told}, but the machine's timer is set to {armed}")
    session.gpujob("down", session.name("copy"), "--yes")
    session.gpujob("images", "rm", session.name("image"), "--region", session.region, "--yes")
    return "its lease is armed"


def check_sweep(session: Session) -> str:
    """`sweep` finds what a machine that ended by itself has left, and deletes it."""
    if session.local:
        raise NotRunError("what a launch has left is an orphan only after 15 minutes")
    name = session.name("lease")

    def listed() -> list[dict[str, Any]]:
        found = json.loads(session.gpujob("sweep", "--region", session.region, "--json"))
        return found if any(one["cluster"] == name for one in found) else []

    found = session.wait(listed, f"orphans of {name}", 1200)
    others = [one["cluster"] for one in found if one["cluster"] != name]
    if others:
        return "found; not deleted, because you have other orphans: gpujob sweep"
    session.gpujob("sweep", "--region", session.region, "--yes")
    return "found and deleted"


def check_gpu(session: Session) -> str:
    """A GPU machine passes `verify`."""
    if not session.gpu:
        raise NotRunError("needs --gpu")
    words = ("--instance-type", "g4dn.xlarge", "--idle-stop", "never")
    session.launch("gpu", *words, hours="20m")
    ended = session.type(("verify", session.name("gpu"), "--json"), session.variables)
    try:
        rows = json.loads(ended.out)
    except ValueError:
        raise FailedError(f"gpujob verify: exit {ended.code}: {ended.err.strip()[-1000:]}") from None
    said = "; ".join(f"{row['check']}: {row['verdict']}" for row in rows)
    session.gpujob("down", session.name("gpu"), "--yes")
    if ended.code:
        raise FailedError(said)
    return said


def check_clean(session: Session) -> str:
    """Nothing of all this is left."""
    left = clean(session)
    if left:
        raise FailedError(f"left: {'; '.join(left)}")
    return "no machine, volume, interface, group, template, key, image, snapshot or role"


CHECKS = (
    Check("credentials and permissions", check_account),
    Check("image parameter names", check_images),
    Check("fleet pools", check_pools, needs="image parameter names"),
    Check("client tokens", check_tokens, needs="fleet pools"),
    Check("console keys", lease.check_console),
    Check("spot price history", lease.check_prices, needs="console keys"),
    Check("lease armed", lease.check_armed, needs="console keys"),
    Check("lease moved", lease.check_moved, needs="lease armed"),
    Check("lease expired: machine terminated", lease.check_expired, needs="lease moved"),
    Check("lease expired: spot request closed", lease.check_request, needs="lease expired: machine terminated"),
    Check("lease expired: volume gone", lease.check_volume, needs="lease expired: machine terminated"),
    Check("stop", check_stop),
    Check("start as another type with a new lease", check_start, needs="stop"),
    Check("job and outputs", check_job, needs="stop"),
    Check("bake", check_bake, needs="start as another type with a new lease"),
    Check("boot of the image", check_boot, needs="bake"),
    Check("least policy on a fresh role", roles.check_policy),
    Check("GPU: verify", check_gpu),
    Check("sweep", check_sweep, needs="lease expired: machine terminated"),
    Check("nothing is left", check_clean),
)
