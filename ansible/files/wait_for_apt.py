"""Wait until no other program holds apt's locks, up to the number of seconds in the first argument."""

import fcntl
import signal
import sys
from pathlib import Path

patience_s = int(sys.argv[1])


def give_up(*_):
    """Exit with what happened and what to do about it."""
    sys.exit(f"another program has held apt's locks for {patience_s} s; find it on the machine with: ps -ef | grep apt")


signal.signal(signal.SIGALRM, give_up)
signal.alarm(patience_s)
for name in ("lib/dpkg/lock-frontend", "lib/dpkg/lock", "lib/apt/lists/lock", "cache/apt/archives/lock"):
    with (Path("/var") / name).open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # apt uses fcntl locks, not flock
