"""A machine as EC2 would boot it: systemd, cloud-init with the user data of `up`, OpenSSH, a console, a network of its own.

It is a container of systemd-nspawn on an overlay. Mounts live in a mount namespace of its own and the network card belongs
to the container, so both go when that goes, however it ends.
"""

import contextlib
import ctypes
import itertools
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.ec2.machines.userdata import make_user_data
from infra.model import Lease
from tests.conftest import wait_for
from tests.system import mirror
from tests.system.tree import find_tree

NUMBERS = itertools.count(random.randrange(16, 200))
PR_SET_PDEATHSIG = 1
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# What Ubuntu's and Debian's images for EC2 say to cloud-init, as far as it matters here.
IMAGE = {
    "system_info": {
        "default_user": {
            "name": "ubuntu", "lock_passwd": True, "shell": "/bin/bash", "sudo": ["ALL=(ALL) NOPASSWD:ALL"],
            "groups": ["adm", "sudo"],
        }
    },
    "datasource_list": ["NoCloud"],
    "network": {"config": "disabled"},
    "manage_etc_hosts": True,
    "locale": "C.UTF-8",
}  # fmt: skip
# Each machine gets control groups of its own: two systemds in the same would end each other's processes.
GROUPS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")]
BEGIN = """
for top in {groups}; do
  ! test -e $top/cgroup.procs || {{ mkdir -p $top/{name} && echo $$ > $top/{name}/cgroup.procs; }}
done
mount -t overlay overlay -o lowerdir={tree},upperdir={folder}/upper,workdir={folder}/work {folder}/root
exec "$@"
"""


@dataclass
class Machine:
    """One machine, from its boot to its end."""

    folder: Path
    lease: Lease
    public_key: str
    number: int = field(default_factory=lambda: next(NUMBERS))
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        """What systemd-nspawn calls it; its network card here is ve- and this."""
        return f"gj{os.getpid() % 100000}x{self.number}"

    @property
    def card(self) -> str:
        """The end of its network card that is here."""
        return f"ve-{self.name}"

    @property
    def here(self) -> str:
        """The address of this machine on the line between the two."""
        return f"10.213.{self.number}.1"

    @property
    def address(self) -> str:
        """Its own address."""
        return f"10.213.{self.number}.2"

    @property
    def instance_id(self) -> str:
        """What EC2 would call it."""
        return f"i-{self.number:017x}"

    @property
    def console(self) -> str:
        """All that it has written to its console."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def off(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of its image, before it boots."""
        file = self.folder / "upper" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def inside(self, script: str, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a script as its root, past SSH."""
        leader = (self.folder / "leader").read_text()
        words = ["nsenter", "--target", leader, "--all", "--wd=/", "sh", "-ec", script]
        return subprocess.run(words, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]


def lay_image(machine: Machine) -> None:
    """Write what the image and EC2 would give: the seed, the network, the way to packages."""
    for name in ("upper", "work", "root"):
        (machine.folder / name).mkdir()
    seed = "/var/lib/cloud/seed/nocloud"
    about = {"instance-id": machine.instance_id, "local-hostname": "node", "public-keys": [machine.public_key]}
    machine.write(f"{seed}/meta-data", json.dumps(about))
    machine.write(f"{seed}/user-data", make_user_data(machine.lease))
    machine.write("/etc/cloud/cloud.cfg.d/90-image.cfg", json.dumps(IMAGE))
    network = f"[Match]\nName=host0\n[Network]\nAddress={machine.address}/24\nGateway={machine.here}\n"
    machine.write("/etc/systemd/network/10-host0.network", network)
    proxy = f"http://{machine.here}:{mirror.PORT}"
    machine.write("/etc/apt/apt.conf.d/90proxy", f'Acquire::http::Proxy "{proxy}";\n')
    machine.write("/etc/resolv.conf", "")
    # What this machine trusts, that one trusts: there may be a proxy between it and PyPI.
    machine.write("/etc/ssl/here.crt", Path(BUNDLE).read_text())
    trust = "".join(f"{name}=/etc/ssl/here.crt\n" for name in ("PIP_CERT", "SSL_CERT_FILE"))
    machine.write("/etc/environment", f"HTTPS_PROXY={proxy}\nhttps_proxy={proxy}\n{trust}")
    machine.write(
        "/etc/sudoers.d/10-proxy", 'Defaults env_keep += "HTTPS_PROXY https_proxy PIP_CERT SSL_CERT_FILE"\n', 0o440
    )
    wants = machine.folder / "upper/etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def start(machine: Machine, *options: str) -> None:
    """Switch it on, and keep what it writes to its console."""
    nspawn = [
        "systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--console=interactive", "--resolv-conf=off",
        "--network-veth", f"--machine={machine.name}", f"--directory={machine.folder}/root", *options,
    ]  # fmt: skip
    groups = " ".join(map(str, GROUPS))
    begin = BEGIN.format(groups=groups, name=machine.name, tree=find_tree(), folder=machine.folder)
    words = ["unshare", "--mount", "sh", "-ec", begin, "sh", *nspawn]
    ours, its = pty.openpty()
    parent = os.getpid()

    def follow_parent() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    machine.process = subprocess.Popen(
        words, stdin=its, stdout=its, stderr=its, start_new_session=True, preexec_fn=follow_parent
    )
    os.close(its)
    threading.Thread(target=keep, args=(ours, machine.folder / "console"), daemon=True).start()


def keep(terminal: int, path: Path) -> None:
    """Write into a file what comes from a terminal, until that is gone."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while data := os.read(terminal, 1 << 16):
            file.write(data)
    os.close(terminal)


def join(machine: Machine) -> None:
    """Give this side of its network card an address, as soon as there is one."""
    ours = Path("/sys/class/net") / machine.card

    def there() -> bool:
        assert not machine.off, machine.console[-2000:]
        return ours.exists()

    wait_for(there, "network card", 60)
    run("ip", "address", "add", f"{machine.here}/24", "dev", machine.card)
    run("ip", "link", "set", machine.card, "up")
    found = subprocess.run(["pgrep", "--parent", str(machine.process.pid)], capture_output=True, text=True)
    (machine.folder / "leader").write_text(found.stdout.split()[0])


@contextmanager
def boot(public_key: str, hours: float = 3, options: tuple[str, ...] = ()) -> Iterator[Machine]:
    """Boot a machine and yield it; afterwards nothing of it is left."""
    # Not below pytest's folder: of that the last three are kept, and a machine is large.
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gpujob-system-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lease = Lease(float(int(time.time() + hours * 3600)), 1.0, warning_s=5)
        machine = Machine(folder, lease, public_key)
        lay_image(machine)
        stack.callback(end, machine)
        start(machine, *options)
        join(machine)
        yield machine


def end(machine: Machine) -> None:
    """Cut a machine's power: with its first process all others go, and systemd-nspawn after them."""
    if machine.process is None:
        return
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if not machine.off:
            os.kill(int((machine.folder / "leader").read_text()), signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        machine.process.wait(20)
    machine.process.kill()
    machine.process.wait()
    wait_for(lambda: not (Path("/sys/class/net") / machine.card).exists(), "end of its network card")
    wait_for(lambda: remove_groups(machine), "end of its processes")
    shutil.rmtree(Path("/run/systemd/nspawn/propagate") / machine.name, ignore_errors=True)  # it leaves an empty one


def remove_groups(machine: Machine) -> bool:
    """Remove a machine's control groups; tell whether that could be done: not while a process is left in them."""
    with contextlib.suppress(OSError):
        for top in GROUPS:
            for folder, _, _ in os.walk(top / machine.name, topdown=False):
                Path(folder).rmdir()
        return True
    return False


def run(*words: str) -> str:
    """Run a program of this machine to its end; return what it printed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
