"""No key and no secret is where others can read it: user data, tags, logs, receipts, process lists, the agent's own folder."""

import os
import re
from pathlib import Path

import psutil

from tests.cloudwatch import watch
from tests.conftest import Laptop

PRIVATE = re.compile(rb"PRIVATE KEY")
SECRET = "correct-horse-battery-staple"
SCRIPT = """
import pathlib, time
pathlib.Path("out.txt").write_text("done")
print("started", flush=True)
while not pathlib.Path("../../../go").exists():
    time.sleep(0.05)
"""


def test_no_key_and_no_secret_is_where_others_can_read_it(tmp_path):
    from tests.conftest import make_laptop

    laptop = make_laptop(tmp_path, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=f"{SECRET}-token")
    try:
        laptop.write(".env", f"PASSWORD={SECRET}\n")
        laptop.write("id_ed25519", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n")
        laptop.write("train.py", SCRIPT)
        said = [laptop.type("up", "--dry-run", "--nodes", "2", "--yes")]
        said.append(laptop.type("run", "--detach", "train.py"))
        assert [one.code for one in said] == [0, 0], [one.said for one in said]
        watching = watch(laptop)
        nodes = watching.living()
        tags = [tag for node in nodes for tag in node["Tags"]]
        texts = [one.said for one in said] + [str(tags), str(watching.everything()), processes(laptop)]
        for node in nodes:
            ask = {"InstanceId": node["InstanceId"]}
            texts.append(watching.ec2.get_console_output(**ask).get("Output", ""))
            texts.append(str(watching.ec2.describe_instance_attribute(**ask, Attribute="userData")))
        keys = private_keys(laptop)
        homes = list((laptop.home / ".local/state/gpujob/local/hosts").glob("*/home"))
        assert len(homes) == 2
        for home in homes:
            texts += [read(path) for path in home.rglob("*") if path.is_file()]
            (home / ".gpujob/go").touch()
        assert laptop.type("wait").code == 0
        assert laptop.type("fetch").code == 0
        texts += [laptop.type("down").said]
        texts += [read(path) for path in (laptop.project / "runs").rglob("*") if path.is_file()]
        texts += [read(path) for path in laptop.home.rglob("*.log")]
        assert len(keys) == 1
        for text in texts:
            assert SECRET not in text
            assert not PRIVATE.search(text.encode())
            assert keys[0] not in text
        assert private_keys(laptop) == [], "what was rented is given back, and its key with it"
    finally:
        laptop.give_back()


def private_keys(laptop: Laptop) -> list[str]:
    """Read the middle of each private key that the laptop keeps; each may be read by its owner alone."""
    found = []
    for path in (laptop.home / ".local/state/gpujob").rglob("*"):
        inside = path.relative_to(laptop.home / ".local/state/gpujob").parts
        if path.is_file() and inside[:2] != ("local", "hosts") and PRIVATE.search(path.read_bytes()):
            assert path.stat().st_mode & 0o077 == 0, path
            found.append(path.read_text().splitlines()[2])
    return found


def processes(laptop: Laptop) -> str:
    """Return the command lines of everything that runs for the laptop."""
    lines = []
    for process in psutil.process_iter():
        try:
            if str(laptop.home) in " ".join(process.cmdline()) or process.environ().get("HOME", "").startswith(
                str(laptop.home)
            ):
                lines.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    assert lines
    return "\n".join(lines)


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if os.access(path, os.R_OK) and not path.is_fifo() else ""
