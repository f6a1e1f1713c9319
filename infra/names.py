"""Names of clusters and images."""

import re
from pathlib import Path

from infra.errors import Change, UsageError

NAME = re.compile("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

# As for ssh's ProxyJump, but without anything that a shell, ssh or a tag could read otherwise.
JUMP = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}@)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}(?::[1-9][0-9]{0,4})?")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
BUCKET = re.compile(r"auto|(?!xn--)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # S3's rules; auto is gpujob-ACCOUNT-REGION
SECRET = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
"""The name of a secret that AWS's Parameter Store accepts."""
MACHINES = "gpujob-machines"
"""The role of machines that upload to a bucket, and the instance profile that has it."""
RESERVED = ("dlami", "dlami-al2023", "ubuntu")
"""Names reserved for images of AWS and Canonical."""


def choose_profile(profile: str | None, bucket: str | None) -> str:
    """Return the instance profile of a launch: machines with a bucket need a role."""
    return profile or (MACHINES if bucket else "")


def name_for(folder: Path) -> str:
    """Return a valid cluster name derived from a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40].strip("-") or "gpujob"


def check_name(name: str, hint: str = "") -> str:
    """Return a cluster name if it is valid; raises UsageError with the hint, or with a valid name to use."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"invalid cluster name '{name}': use lower-case letters, digits and hyphens, at most 40",
            hint,
            None if hint else Change(name, name_for(Path(name))),
        )
    return name


def suggest_image_name(name: str) -> str:
    """Return a valid image name similar to an invalid one; a reserved one gets a prefix."""
    close = name_for(Path(name))
    return (
        f"my-{close.removeprefix('ami-')}"[:40].strip("-") if close.startswith("ami-") or close in RESERVED else close
    )


def check_image_name(name: str) -> str:
    """Return an image name if it is valid for a new image; raises UsageError."""
    if name in RESERVED or name.startswith("ami-") or not NAME.fullmatch(name):
        raise UsageError(
            f"invalid image name '{name}': use lower-case letters, digits and hyphens, at most 40; not dlami, ubuntu or ami-...",
            f"--as {suggest_image_name(name)}",
        )
    return name
