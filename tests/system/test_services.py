"""The service of a sent job, on a real systemd: it learns whether it alone is stopped or its machine, and is waited for."""

from pathlib import Path

from infra.ec2.machines.userdata import SENT, UNITS
from tests.conftest import wait_for
from tests.system.site import rent

# Notes what the system says when it is told to end, and ends a while after.
AGENT = """
import os, pathlib, signal, subprocess, sys, time
def note(*_):
    said = subprocess.run(["sudo", "-n", "systemctl", "is-system-running"], stdout=subprocess.PIPE).stdout
    time.sleep(3)
    with open("/var/lib/told", "ab") as told:
        told.write(said)
    sys.exit()
signal.signal(signal.SIGTERM, note)
pathlib.Path("/var/lib/pid").write_text(str(os.getpid()))
while True:
    time.sleep(1)
"""


def test_a_service_is_told_whether_it_alone_ends_or_its_machine_and_may_take_its_time(tmp_path: Path) -> None:
    with rent(tmp_path) as site:
        unit = SENT.format(user="ubuntu", boot="-c", settings="pass")
        write = "cat > {path} <<'EOF'\n{text}\nEOF\n"
        site.machine.inside(
            f"mkdir -p ~ubuntu/.gpujob; {write.format(path='~ubuntu/.gpujob/agent.pyz', text=AGENT)}"
            f"{write.format(path=f'{UNITS}/gpujob-sent.service', text=unit)}"
            "touch /var/lib/told /var/lib/pid; chown ubuntu /var/lib/told /var/lib/pid; systemctl start gpujob-sent"
        )
        wait_for(lambda: site.machine.inside("cat /var/lib/pid").stdout, "the service")
        site.machine.inside("rm /var/lib/pid; install -o ubuntu /dev/null /var/lib/pid; systemctl restart gpujob-sent")
        wait_for(lambda: site.machine.inside("cat /var/lib/pid").stdout, "the service again")
        told = site.machine.folder / "upper/var/lib/told"
        site.machine.inside("systemctl poweroff --no-block")
        wait_for(lambda: site.machine.off, "end of the machine", 120)
        first, *others = told.read_text().split()
        assert (first != "stopping", {*others}) == (True, {"stopping"})
