"""A job over two spot machines, of which AWS takes the first."""

import json
import re
import shutil

from tests.conftest import Finished, wait_for
from tests.e2e.test_nodes import WRITE


def test_a_reclaimed_first_machine_ends_the_job_and_the_others_still_have_its_log_and_outputs(laptop):
    assert laptop.type("up", "--dry-run", "--nodes", "2", "--spot").code == 0
    saves = "trap 'echo saved >> saved.txt' TERM; while :; do sleep 0.2; done"
    run = laptop.start("run", "--nodes", "2", "--", f"{WRITE}; {saves}")
    results = [laptop.project / "runs" / name for name in ("project-1", "project-1.1")]
    wait_for(lambda: "node 1 of 2" in laptop.type("logs", "--node", "1", "1").out, "the output of node 1")
    machine = json.loads(laptop.type("ls", "--json").out)[0]["nodes"][0]["instance_id"]
    assert laptop.type("local", "fault", "interrupt=15@0").code == 0
    ran = Finished.of(run, 120)
    assert re.search(
        rf"job 1 preempted after .*: AWS reclaimed the spot machine; node 0 \({machine}\) was lost", ran.err
    ), ran.said
    assert "nothing was downloaded from node 0" in ran.err, ran.said
    assert (ran.code, (results[1] / "files/rank.txt").read_text()) == (1, "1\n")
    assert f"AWS reclaims node 0 ({machine}); sending SIGTERM" in (results[1] / "job.log").read_text()
    assert (results[1] / "files/saved.txt").exists()
    assert json.loads((results[0] / "receipt.json").read_text())["job"]["state"] == "interrupted"
    assert json.loads(laptop.type("ls", "--json").out)[0]["state"] == "running"  # which records what is left
    left = laptop.type("logs", "1")
    assert left.out.startswith("1| node 1 of 2\n"), left.said
    assert "cannot print the log of node 0: node 0 of 'project'" in left.err, left.said
    assert laptop.type("logs", "--node", "1", "1").out.startswith("node 1 of 2\n")
    assert "node 0 of 'project'" in laptop.type("logs", "--node", "0", "1").err
    assert "no longer exists" in laptop.type("run", "--nodes", "2", "--", "true").err
    alone = laptop.type("run", "--", "touch alone")
    assert (alone.code, (results[0].with_name("project-2") / "files/alone").exists()) == (0, True), alone.said
    shutil.rmtree(results[1])
    fetched = laptop.type("fetch", "1")
    assert (fetched.code, (results[1] / "files/rank.txt").exists()) == (0, True), fetched.said
    assert "2 x" not in laptop.type("top", "--once").out
    down = laptop.type("down")
    assert down.code == 0, down.said
