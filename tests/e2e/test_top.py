"""The live view: one frame where nobody watches, a drawing that follows the node where somebody does."""

import json
import os
import pty
import subprocess

from tests.conftest import COMMAND, wait_for
from tests.e2e.test_jobs import job_number

LOOP = "import os, time\nwhile not os.path.exists('../go'): print('step', time.monotonic_ns(), flush=True); time.sleep(0.1)\n"


def test_top_shows_what_the_machine_and_its_jobs_do(project):
    project.write("loop.py", LOOP)
    number = job_number(project.type("run", "--detach", "--name", "looper", "loop.py").err)
    wait_for(lambda: project.type("logs", str(number)).out, "output")
    frame = project.type("top")
    assert frame.code == 0, frame.said
    facts = dict(line.split("\t", 1) for line in frame.out.splitlines()[:6])
    assert facts["cluster"].startswith("shared, g4dn.xlarge")
    names, cells = (line.split("\t") for line in project.type("ls").out.splitlines())
    assert f"so far, {dict(zip(names, cells, strict=True))['price']}" in facts["cost"]
    assert facts["cost"].startswith("would have cost ")
    assert facts["lease"].endswith("left")
    [row] = [line.split("\t") for line in frame.out.splitlines() if "\tlooper\t" in line]
    assert (row[0], row[2]) == (str(number), "running")
    assert row[-1].startswith("step ")
    told = json.loads(project.type("top", "--json").out)
    [job] = [each for each in told["jobs"] if each["job"]["number"] == number]
    assert 0 < job["memory_bytes"] < told["machines"][0]["memory_bytes"]
    assert told["cluster"]["lease_left_s"] > 0

    near, far = pty.openpty()
    live = subprocess.Popen(
        [*COMMAND, "top", "--every", "0.1s"],
        cwd=project.project,
        env={**project.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    os.close(far)
    drawn = b""

    def frames() -> int:
        nonlocal drawn
        drawn += os.read(near, 65536)
        return drawn.count(b"Ctrl-C exits")

    wait_for(lambda: frames() >= 3, "three frames")
    os.write(near, b"q")
    assert live.wait(30) == 0
    os.close(near)
    assert b"looper" in drawn
    assert b"Traceback" not in drawn
    project.type("cancel", "--cluster", "shared", str(number))
