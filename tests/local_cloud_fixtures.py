"""A local cloud for tests, machines in it, and what it takes to talk to them."""

import io
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import paramiko
import psutil
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.local import process
from infra.local.process import LocalCloud
from tests.conftest import MOST_PAUSE_S
from tests.typist import clouds_forked

IMAGE = "/aws/service/deeplearning/ami/x86_64/oss-nvidia-driver-gpu-pytorch-2.8-ubuntu-24.04/latest/ami-id"
KEY_NAME = "laptop"


def eventually(condition: Callable[[], Any], deadline_s: float = 90) -> Any:
    """Wait until the condition holds, and return what made it so."""
    end, pause_s = time.monotonic() + deadline_s, 0.02
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, MOST_PAUSE_S)
    raise AssertionError(f"still not true after {deadline_s} s")


def alive(pid: int) -> bool:
    """Tell whether a process lives; the dead that nobody reaped do not count."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@lru_cache(maxsize=20)  # a client costs as much as ten calls
def client(cloud: LocalCloud, service: str, region: str = "us-east-1", access_key: str = "") -> Any:
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=cloud.url,
        aws_access_key_id=access_key or cloud.access_key,
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def find_image(cloud: LocalCloud, region: str = "us-east-1") -> str:
    """Return an image as the command line does; to list all of EC2's takes moto a second."""
    return client(cloud, "ssm", region).get_parameter(Name=IMAGE)["Parameter"]["Value"]


@dataclass(frozen=True)
class World:
    """A cloud with the tests' key pair in it."""

    folder: Path
    cloud: LocalCloud
    key_text: str

    @property
    def key(self) -> paramiko.PKey:
        """Read the tests' key as paramiko does."""
        return paramiko.Ed25519Key.from_private_key(io.StringIO(self.key_text))

    @property
    def ec2(self) -> Any:
        """Make a client of EC2."""
        return client(self.cloud, "ec2")

    def image(self) -> str:
        """Ask for the image as the command line does."""
        return find_image(self.cloud)

    def request(self, **changes: Any) -> dict[str, Any]:
        """Make the words of a launch; None takes one out."""
        request = {
            "ImageId": self.image(),
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": "g5.xlarge",
            "KeyName": KEY_NAME,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "ClientToken": uuid.uuid4().hex,
        }
        return {name: value for name, value in (request | changes).items() if value is not None}

    def launch(self, **changes: Any) -> "Machine":
        """Launch an instance."""
        instance = self.ec2.run_instances(**self.request(**changes))["Instances"][0]
        return Machine(self, instance["InstanceId"])


@dataclass(frozen=True)
class Machine:
    """An instance of the cloud."""

    world: World
    id: str

    def describe(self) -> dict[str, Any]:
        """Ask EC2 what it knows."""
        return self.world.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]

    def state(self) -> str:
        """Ask EC2 for the state."""
        return self.describe()["State"]["Name"]

    def endpoint(self) -> str | None:
        """Ask EC2 for the tag that tells the address."""
        return {tag["Key"]: tag["Value"] for tag in self.describe().get("Tags", [])}.get("gpujob:endpoint")

    def port(self) -> int:
        """Wait for the SSH port."""
        return int(eventually(self.endpoint).rpartition(":")[2])

    def connect(self, user: str = "ubuntu", **proof: Any) -> paramiko.SSHClient:
        """Log in, with the key unless another proof is given."""
        connection = paramiko.SSHClient()
        connection.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        connection.connect(
            "127.0.0.1",
            self.port(),
            user,
            **(proof or {"pkey": self.world.key}),
            allow_agent=False,
            look_for_keys=False,
        )
        return connection

    def run(self, command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command, and return its exit code, output and errors."""
        with self.connect() as connection:
            into, out, errors = connection.exec_command(command)

            def feed() -> None:
                with suppress(OSError):  # a command need not read all of it
                    for start in range(0, len(stdin), 1_000_000):  # sendall copies all the rest for each packet
                        into.channel.sendall(stdin[start : start + 1_000_000])
                    into.channel.shutdown_write()

            threading.Thread(target=feed, daemon=True).start()
            output = out.read()
            return out.channel.recv_exit_status(), output, errors.read()

    def host(self) -> psutil.Process:
        """Find the process that is this machine."""

        def found() -> psutil.Process | None:
            family = psutil.Process(self.world.cloud.pid).children()
            return next((one for one in family if self.id in one.cwd()), None)

        return eventually(found)

    def start_daemon(self) -> int:
        """Leave a process behind that has torn itself loose from everything, and return its id."""
        script = "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
        script += "open('daemon','w').write(str(os.getpid()))\n"
        script += "for n in range(3): os.close(n)\ntime.sleep(600)"
        self.run(f'rm -f daemon; python3 -c "{script}"')
        return int(eventually(lambda: self.run("cat daemon")[1]))

    def host_key(self) -> str:
        """Ask the running server itself."""
        with self.connect() as connection:
            key = connection.get_transport().get_remote_server_key()
            return f"{key.get_name()} {key.get_base64()}"


def lease(until_s: float) -> str:
    """Return user data that ends a lease at an epoch time."""
    when = datetime.fromtimestamp(until_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f'#cloud-config\n{{"bootcmd": [["sh", "-c", "printf %s $1", "sh", "[Timer]\\nOnCalendar={when}\\n"]]}}\n'


def make_key() -> str:
    """Make an ed25519 key."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def open_world(folder: Path) -> World:
    """Start a cloud and put the tests' key pair into it."""
    with clouds_forked():
        world = World(folder, process.start(folder), make_key())
    public = f"{world.key.get_name()} {world.key.get_base64()} tests\n".encode()
    world.ec2.import_key_pair(KeyName=KEY_NAME, PublicKeyMaterial=public)
    let_in(world, GroupName="default")
    return world


def let_in(world: World, **group: str) -> None:
    """Open a security group's port 22 to this computer; one that has no rule lets nobody in."""
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    world.ec2.authorize_security_group_ingress(IpPermissions=[rule], **group)


def close_world(folder: Path) -> None:
    """Stop the cloud of a folder; nothing of it may be left."""
    cloud = process.find(folder)
    family = psutil.Process(cloud.pid).children(recursive=True) if cloud else []
    process.stop(folder)
    assert not [one for one in family if alive(one.pid)]
    assert not cloud or not alive(cloud.pid)
    assert {path.name for path in folder.glob("*")} <= {"cloud.log"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder whose cloud, if a test starts one, ends with the test."""
    yield tmp_path / "cloud"
    close_world(tmp_path / "cloud")


@pytest.fixture
def world(folder: Path) -> World:
    """Give a test a cloud of its own."""
    return open_world(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a module one cloud, kept alive by one stopped instance."""
    folder = tmp_path_factory.mktemp("shared") / "cloud"
    try:
        world = open_world(folder)
        anchor = world.launch()
        world.ec2.stop_instances(InstanceIds=[anchor.id])
        yield world
    finally:
        close_world(folder)
    assert "Traceback" not in (folder / "cloud.log").read_text()


@pytest.fixture(scope="module")
def machine(shared: World) -> Machine:
    """Give tests a machine that they may use but not break."""
    return shared.launch()
