"""What `up` does when the cloud has not what is asked for, refuses it, or goes on without us."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import urllib.request
from contextlib import suppress

import pytest

from infra.ec2.tags import tag_specification
from infra.local.cloud.server import control
from tests.cloudwatch import FEW_REGIONS, remains, watch
from tests.conftest import COMMAND, Laptop, epoch, wait_for


def break_cloud(laptop: Laptop, *faults: str) -> None:
    assert laptop.type("local", "fault", *faults).code == 0


def instances_of(laptop: Laptop) -> list[dict]:
    return [node for cluster in json.loads(laptop.type("ls", "--json").out) for node in cluster["nodes"]]


def test_a_full_zone_and_a_full_type_are_passed_over(laptop):
    break_cloud(laptop, "no-capacity=g4dn.xlarge@*")
    up = laptop.type("up", "--dry-run")
    assert up.code == 0, up.said
    [node] = instances_of(laptop)
    assert node["instance_type"] == "g4dn.2xlarge"
    assert node["usd_per_hour"] == 0.752


def test_regions_are_tried_one_after_another_and_a_full_one_is_left_clean(laptop):
    break_cloud(laptop, "no-capacity=*@us-east-1*")
    up = laptop.type("up", "--dry-run", "--region", "us-east-1", "--region", "us-west-2")
    assert up.code == 0, up.said
    assert "trying the next region" in up.err
    [cluster] = json.loads(laptop.type("ls", "--json").out)
    assert cluster["region"] == "us-west-2"
    assert remains(laptop) == []  # of us-east-1


def test_spot_first_tries_both_markets_and_where_neither_has_a_machine_nothing_stays(laptop):
    break_cloud(laptop, "no-capacity=*")
    refused = laptop.type("up", "--dry-run", "--spot-first")
    assert refused.code == 1
    assert "trying on-demand" in refused.err
    assert "no machine of this type is available in us-east-1" in refused.err
    assert remains(laptop) == []


def test_several_nodes_come_together_ranked_and_end_together(laptop):
    up = laptop.type("up", "--dry-run", "--nodes", "2", "--spot")
    assert re.search(r"speed +between two machines: up to 25 Gbit/s, 5 sustained", up.err), up.said
    assert re.search(r"loss +a machine that is lost ends the jobs on it", up.err), up.said
    assert up.code == 0, up.said
    nodes = instances_of(laptop)
    assert len({node["instance_id"] for node in nodes}) == 2
    assert len({(node["instance_type"], node["zone"], node["market"]) for node in nodes}) == 1
    assert laptop.type("ssh", "--node", "1", "--", "echo", "here").out == "here\n"
    assert laptop.type("ssh", "--node", "2", "--", "true").code == 2
    machines = json.loads(laptop.type("top", "--json").out)["machines"]
    assert [machine["instance_id"] for machine in machines] == [node["instance_id"] for node in nodes]
    assert "cannot be stopped" in laptop.type("stop").err
    assert laptop.type("down").code == 0
    assert remains(laptop) == []


def test_a_denied_action_is_named_and_nothing_stays(laptop):
    break_cloud(laptop, "denied=ec2:CreateFleet")
    up = laptop.type("up", "--dry-run")
    assert up.code == 1
    assert "ec2:CreateFleet" in up.err
    assert remains(laptop) == []


def test_the_same_up_after_a_crash_takes_up_what_was_begun_and_another_refuses(laptop):
    laptop.type("check", "--dry-run")  # starts the local cloud
    process = laptop.start("up", "--dry-run")
    said = b""
    while b"waiting for a login" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    [begun] = instances_of(laptop)
    other = laptop.type("up", "--dry-run", "--max-hours", "1")
    assert other.code == 2
    assert "with other options was interrupted" in other.err
    again = laptop.type("up", "--dry-run")
    assert again.code == 0, again.said
    assert "resuming an interrupted launch" in again.err
    assert [node["instance_id"] for node in instances_of(laptop)] == [begun["instance_id"]]
    assert laptop.type("run", "--", "true").code == 0
    assert "cluster 'project' already exists" in laptop.type("up", "--dry-run").err


def test_an_up_that_finds_its_name_taken_leaves_the_other_s_key(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    [node] = instances_of(laptop)
    # As if EC2 did not show the machine yet: only the key pair says now that the name is taken.
    watch(laptop).ec2.delete_tags(Resources=[node["instance_id"]], Tags=[{"Key": "gpujob:cluster"}])
    key = laptop.home / ".local/state/gpujob/clusters/project/id_ed25519"
    before = key.read_text()
    refused = laptop.type("up", "--dry-run")
    assert refused.code == 2, refused.said
    assert "another launch of 'project' started 0 min ago" in refused.err
    assert key.read_text() == before


def test_a_plan_spends_nothing_and_money_bounds_it(laptop):
    plan = laptop.type("up", "--dry-run", "--plan", "--json", "--max-cost", "2", "--disk", "200", "--image", "ubuntu")
    assert plan.code == 0, plan.said
    facts = json.loads(plan.out)
    assert facts["lease"]["most_usd"] == pytest.approx(2.0)
    assert {offer["instance_type"] for offer in facts["choices"][0]["offers"]} == {"g4dn.xlarge", "g4dn.2xlarge"}
    assert remains(laptop) == []
    small = laptop.type("up", "--dry-run", "--plan", "--max-cost", "0.01")
    assert small.code == 2
    assert "pays for" in small.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--zone", "us-east-1z"], "no instance type matches in us-east-1z"),
        (["--image", "nowhere"], "no image named 'nowhere'"),
        (["--image", "ami-0"], "ami-0"),
        (["--gpu-memory", "9999"], "the largest has"),
    ],
)
def test_what_does_not_exist_is_told_before_anything_is_spent(laptop, words, said):
    up = laptop.type("up", "--dry-run", *words)
    assert up.code in (1, 2), up.said
    assert said in up.err
    assert "Traceback" not in up.said


def test_offers_are_filtered_and_sorted_by_price(laptop):
    offers = laptop.type("offers", "--dry-run", "--gpu-memory", "40", "--max-price", "2", "--json")
    assert offers.code == 0, offers.said
    rows = json.loads(offers.out)
    assert [row["instance_type"] for row in rows][:1] == ["g6e.xlarge"]
    cheapest = [min(row["on_demand_usd"], row["spot_usd"]) for row in rows]
    assert max(cheapest) <= 2
    prices = [row["on_demand_usd"] for row in rows]
    assert prices == sorted(prices)
    any_count = json.loads(laptop.type("offers", "--dry-run", "--gpu", "h100", "--json").out)
    assert {row["gpu"]["count"] for row in any_count} == {1, 8}
    assert "Similar: A10G 24 GB" in laptop.type("offers", "--dry-run", "--gpu", "A11G").err


@pytest.mark.parametrize(("columns", "shown"), [("80", False), ("160", True)])
def test_a_table_gives_each_machine_one_line_however_wide_the_terminal_is(laptop, columns, shown):
    near, far = pty.openpty()
    environment = {**laptop.environment, "TERM": "dumb", "COLUMNS": columns, "LINES": "60"}
    words = [*COMMAND, "offers", "--dry-run", "--gpu", "T4"]
    with subprocess.Popen(words, env=environment, cwd=laptop.project, stdout=far, stderr=subprocess.PIPE) as process:
        os.close(far)
        drawn = b""
        with suppress(OSError):  # that is how a terminal ends
            while True:
                drawn += os.read(near, 65536)
        said = process.communicate(timeout=120)[1].decode()
    os.close(near)
    lines = drawn.decode().splitlines()
    [line] = [line for line in lines if "g4dn.12xlarge" in line]
    assert line.split()[:4] == ["g4dn.12xlarge", "us-east-1", "T4", "4"]
    assert max(map(len, lines)) <= int(columns)
    assert [any("network" in line for line in lines), "hidden columns: network" in said] == [shown, not shown]


def test_a_stopped_cluster_keeps_its_disk_and_is_reached_again_under_a_new_lease(laptop):
    assert laptop.type("up", "--dry-run", "--max-hours", "1").code == 0
    assert laptop.type("ssh", "--", "sh", "-c", "echo data > kept").code == 0
    assert laptop.type("run", "--detach", "--", "sleep", "600").code == 0
    assert "is still running" in laptop.type("stop").err
    assert laptop.type("cancel", "1").code == 0
    stop = laptop.type("stop")
    assert (stop.code, "The disk has outputs of 1 job that are not downloaded" in stop.err) == (0, True), stop.said
    [cluster] = json.loads(laptop.type("ls", "--json").out)
    assert cluster["nodes"][0]["state"] == "stopped"
    assert "gpujob start project" in laptop.type("run", "--", "true").err
    assert (
        "gpujob start project, then gpujob down project; terminate it anyway: gpujob down project --force"
        in laptop.type("down").err
    )
    assert laptop.type("start", "--max-hours", "3").code == 0
    assert laptop.type("ssh", "--", "cat", "kept").out == "data\n"
    [again] = json.loads(laptop.type("ls", "--json").out)
    assert 7000 < epoch(again["lease_until"]) - epoch(cluster["lease_until"]) < 7400
    assert again["launched_at"] > cluster["launched_at"]  # EC2 counts from the last start
    assert again["spent_usd"] > 0
    plan = laptop.type("up", "--dry-run", "--plan")
    assert plan.code == 0, plan.said
    assert "cluster 'project' already exists" in plan.err
    assert "nothing to do" in laptop.type("start").err
    assert laptop.type("fetch").code == 0
    assert "The disk has" not in laptop.type("stop").err
    assert laptop.type("down").code == 0
    assert remains(laptop) == []
    [cost] = json.loads(laptop.type("cost", "--json").out)[-1:]
    assert (cost["cluster"], cost["cloud"]) == ("project", "local")
    # A T4 costs 0.53 USD an hour, its disk a little, and each of the two starts a minute at least.
    assert max(cost["hours"], 2 / 60) * 0.5 < cost["usd"] < cost["hours"] + 2 / 60


def test_sweep_removes_strays_of_every_region_and_nothing_that_lives(laptop):
    assert laptop.type("up", "alive", "--dry-run").code == 0
    owner = json.loads(laptop.type("up", "another", "--dry-run", "--plan", "--json").out)["owner"]
    europe = watch(laptop, "eu-west-1").ec2
    for name, who in (("lost", owner), ("theirs", "arn:aws:iam::1:user/other")):
        tags = {"gpujob:cluster": name, "gpujob:owner": who, "gpujob:disk-price": "0.01"}
        specification = [tag_specification("security-group", tags)]
        europe.create_security_group(GroupName=f"gpujob-{name}", Description="x", TagSpecifications=specification)
    europe.create_security_group(GroupName="foreign", Description="x")
    swept = laptop.type("sweep", "--dry-run")
    assert swept.code == 0, swept.said
    assert "security group" in swept.out
    assert "theirs" not in swept.out
    assert "alive" not in swept.out
    assert "deleted orphaned resources of 1 cluster" in swept.err
    control.add_faults(watch(laptop).cloud, *FEW_REGIONS)
    assert "nothing to do" in laptop.type("sweep", "--dry-run").err
    left = europe.describe_security_groups()["SecurityGroups"]
    assert sorted(group["GroupName"] for group in left) == ["default", "foreign", "gpujob-theirs"]
    assert [cluster["name"] for cluster in json.loads(laptop.type("ls", "--json").out)] == ["alive"]
    everywhere = json.loads(laptop.type("ls", "--json", "--all-regions").out)
    assert [cluster["name"] for cluster in everywhere] == ["alive"]


def test_plain_ssh_knows_clusters_once_its_config_is_written(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    (laptop.home / ".ssh").mkdir()
    (laptop.home / ".ssh/config").write_text("Host other\n  User me\n")
    for _ in range(2):
        assert laptop.type("ssh-config", "--yes").code == 0
    text = (laptop.home / ".ssh/config").read_text()
    assert text.startswith("Include ")
    assert text.count("Include ") == 1
    assert text.endswith("Host other\n  User me\n")
    config = str(laptop.home / ".ssh/config")
    done = subprocess.run(
        ["ssh", "-F", config, "gpujob-project", "echo plain"], capture_output=True, timeout=120, check=False
    )
    assert done.stdout == b"plain\n", done.stderr
    ours = laptop.home / ".local/state/gpujob/ssh_config"
    assert laptop.type("up", "other", "--dry-run").code == 0
    assert laptop.type("down", "project").code == 0
    assert [line for line in ours.read_text().splitlines() if line.startswith("Host ")] == ["Host gpujob-other"]


def test_a_tunnel_brings_a_port_of_the_machine_here(laptop):
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        here, there = one.getsockname()[1], two.getsockname()[1]
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("page.txt", "from the machine")
    serve = ["python", "-m", "http.server", str(there), "--bind", "127.0.0.1"]
    assert laptop.type("run", "--detach", "--", *serve).code == 0
    tunnel = laptop.start("tunnel", f"{here}:{there}")

    def page() -> bytes:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            return opener.open(f"http://127.0.0.1:{here}/page.txt", timeout=5).read()
        except OSError:
            return b""

    try:
        wait_for(lambda: page() == b"from the machine", "page")
        taken = laptop.type("tunnel", str(here))
        assert (taken.code, f"port {here} is in use" in taken.err, "gpujob tunnel " in taken.err) == (2, True, True)
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate(timeout=120)
    assert tunnel.returncode == 0
    assert laptop.type("tunnel", "99999").code == 2
