"""Services of a machine of the local cloud end as systemd ends them: told first, and by themselves."""

import base64
import time

from infra.ec2.machines.userdata import Sent, make_user_data
from infra.model import Lease
from tests import local_cloud_fixtures as fixtures
from tests.local_cloud_fixtures import eventually

shared = fixtures.shared

# Installs an agent that notes what the system says when the agent is told to end.
BOOT = '''
import pathlib
pathlib.Path.home().joinpath(".gpujob").mkdir(exist_ok=True)
pathlib.Path.home().joinpath(".gpujob/agent.pyz").write_text("""
import os, pathlib, signal, subprocess, sys, time
def note(*_):
    said = subprocess.run(["sudo", "-n", "systemctl", "is-system-running"], stdout=subprocess.PIPE).stdout
    time.sleep(0.5)  # it is waited for
    with open("told", "ab") as told:
        told.write(said)
    sys.exit()
if sys.argv[1] == "away":
    signal.signal(signal.SIGTERM, note)
    pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(600)
""")
'''


def test_a_service_is_told_whether_it_alone_ends_or_its_machine_and_may_take_its_time(shared):
    sent = Sent(BOOT.encode(), {})
    data = base64.b64encode(make_user_data(Lease(time.time() + 3600, 1.0, 0, 60), sent=sent).encode()).decode()
    machine = shared.launch(UserData=data, InstanceInitiatedShutdownBehavior="stop")
    eventually(lambda: machine.run("cat pid")[1])
    machine.run("kill $(cat pid); rm pid")
    eventually(lambda: machine.run("cat pid")[1])
    machine.run("sudo poweroff")
    eventually(lambda: machine.state() == "stopped")
    shared.ec2.start_instances(InstanceIds=[machine.id])
    eventually(machine.endpoint)
    eventually(lambda: machine.run("cat told")[1] == b"running\nstopping\n")
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
