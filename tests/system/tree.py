"""A Debian 12 that is like its cloud image, kept between runs: machines boot on overlays above it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from platformdirs import user_cache_path

# What Debian's own image for EC2 has, as far as the tests touch it.
PACKAGES = (
    "ca-certificates", "cloud-init", "dbus", "iproute2", "kmod", "libpam-systemd", "locales", "openssh-server", "procps",
    "python3", "python3-apt", "sudo", "systemd", "systemd-sysv", "udev", "util-linux-extra",
)  # fmt: skip
SUITES = "\n".join(
    f"deb http://deb.debian.org/{archive} {suite} main"
    for archive, suite in (
        ("debian", "bookworm"),
        ("debian", "bookworm-updates"),
        ("debian-security", "bookworm-security"),
    )
)
# Its packages are held in memory for long enough: no need to have each of them safe on the disk.
OPTIONS = ["--variant=minbase", "--format=directory", "--dpkgopt=force-unsafe-io"]

WEEK_S = 7 * 24 * 3600
CACHE = user_cache_path("gpujob-system")  # read before any test has a home of its own


def find_tree() -> Path:
    """Return the root of the tree, made if it is not there."""
    key = hashlib.sha256("\n".join([*PACKAGES, SUITES, *OPTIONS]).encode()).hexdigest()[:16]
    tree = CACHE / f"bookworm-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            for old in CACHE.glob("bookworm-*"):
                if time.time() - old.stat().st_mtime > WEEK_S:  # a machine may run on one that another checkout made
                    shutil.rmtree(old)
            half = CACHE / "half"
            shutil.rmtree(half, ignore_errors=True)
            subprocess.run(
                ["mmdebstrap", *OPTIONS, f"--include={','.join(PACKAGES)}", "bookworm", str(half), "-"],
                input=SUITES, text=True, check=True, capture_output=True,
            )  # fmt: skip
            half.rename(tree)
        os.utime(tree)
    return tree
