"""Wait until no other program holds a lock of apt: for as many seconds as the first word says."""

import fcntl
import signal
import sys
from pathlib import Path

patience_s = int(sys.argv[1])


def give_up(*_):
    """End with what happened and what to do about it."""
    sys.exit(f"another program has held the locks of apt for {patience_s} s; ps -ef | grep apt shows it on the machine")


signal.signal(signal.SIGALRM, give_up)
signal.alarm(patience_s)
for name in ("lib/dpkg/lock-frontend", "lib/dpkg/lock", "lib/apt/lists/lock", "cache/apt/archives/lock"):
    with (Path("/var") / name).open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # apt's are locks of this kind, not of flock's
