"""Images of machines that were set up: made, listed, booted, removed; broken off, refused, and those of other people."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ec2.tags import IMAGE_TAG, OWNER_TAG, tag_specification
from infra.local.cloud.server import control
from tests.cloudwatch import Watch, keep_alive, watch
from tests.conftest import Laptop, make_laptop, wait_for

pytestmark = pytest.mark.timeout(400)

# What a person and a job leave on a machine. The dependencies of the project, which are installed there, may go on an image.
PLANTS = (
    *(
        ".bashrc",
        ".profile",
        ".zshenv",
        ".config/systemd/user/evil.service",
        ".config/environment.d/evil.conf",
        ".ssh/rc",
    ),
    *(
        ".ssh/authorized_keys2",
        ".local/bin/python3",
        ".local/lib/python3.11/site-packages/evil.pth",
        ".gitconfig",
        ".netrc",
    ),
    *(".config/pip/pip.conf", ".ipython/profile_default/startup/evil.py", ".jupyter/jupyter_server_config.py"),
    *(".gpujob/environments/e/here", ".gpujob/uv/bin/uv", ".gpujob/py-spy/bin/py-spy"),
)
LEAVE = "".join(f"mkdir -p ~/{Path(plant).parent}; echo planted > ~/{plant}; " for plant in PLANTS)
LEAVE += "echo out > out; mkdir -p shut/in; echo out > shut/in/out; chmod -R a-rwx shut"
LOOK = "ls ~/.gpujob/environments; ls -A ~; grep -rls [p]lanted ~"


@pytest.fixture
def cooked(tmp_path) -> Iterator[Laptop]:
    """A laptop with a cluster "pan" on which a job has run; the cloud outlives it."""
    laptop = make_laptop(tmp_path, GPUJOB_DRY_RUN="1", GPUJOB_CLUSTER="pan")
    try:
        assert laptop.type("check").code == 0
        keep_alive(watch(laptop))
        assert laptop.type("up", "pan").code == 0
        laptop.write("requirements.txt", "packaging\n")
        assert laptop.type("run", "--", "sh", "-c", LEAVE).code == 0
        yield laptop
    finally:
        laptop.give_back()


def listed(laptop: Laptop) -> list[dict[str, object]]:
    return json.loads(laptop.type("images", "--json").out)


def snapshots(watching: Watch) -> list[str]:
    found = watching.ec2.describe_snapshots(Filters=[{"Name": "tag-key", "Values": [IMAGE_TAG]}])["Snapshots"]
    return [one["SnapshotId"] for one in found]


def jobs(laptop: Laptop) -> list[int]:
    return [job["number"] for job in json.loads(laptop.type("jobs", "--json").out)]


def test_an_image_has_what_was_installed_and_nothing_of_whose_machine_it_was(cooked):
    lease = json.loads(cooked.type("ls", "--json").out)[0]["lease_until"]
    key = json.loads(cooked.type("jobs", "--json").out)[0]["dependencies"]
    cooked.type("run", "--detach", "--", "sh", "-c", "echo later > later")
    cooked.type("wait")
    bake = cooked.type("bake", "pan", "--as", "cake")
    assert bake.code == 0, bake.said
    assert (cooked.project / "runs" / "pan-2" / "files" / "later").read_text() == "later\n"

    [image] = listed(cooked)
    assert (image["name"], image["state"], image["cluster"]) == ("cake", "available", "pan")
    assert (image["size_gb"], image["usd_per_month"]) == (100, 5.0)
    assert len(snapshots(watch(cooked))) == 1
    assert "100 GiB\t$5.00/month" in cooked.type("images").out
    assert (cooked.home / ".local/state/gpujob/images/cake").exists()

    assert jobs(cooked) == []
    again = cooked.type("run", "--", "sh", "-c", LOOK).out
    assert again.startswith(f"gpujob: dependencies from requirements.txt are already installed\n{key}\n"), again
    assert json.loads(cooked.type("ls", "--json").out)[0]["lease_until"] == lease
    assert cooked.type("down", "pan").code == 0

    up = cooked.type("up", "plate", "--image", "cake")
    assert up.code == 0, up.said
    assert "cake, from 'pan'" in up.err
    look = cooked.type("run", "--no-deps", "--cluster", "plate", "--", "sh", "-c", LOOK).out.splitlines()
    assert look[0] == key
    assert set(look[1:]) <= {f"{key}.lock", ".gpujob", ".profile", ".cache", ".config", ".ssh", ".local", ".ipython"}
    assert cooked.type("down", "plate").code == 0

    hosts = cooked.home / ".local/state/gpujob/local/hosts"
    assert list(hosts.glob("ami-*/home"))
    gone = cooked.type("images", "rm", "cake")
    wait_for(lambda: not list(hosts.glob("ami-*")), "end of the image's own copy of the home")
    assert (gone.code, listed(cooked), snapshots(watch(cooked))) == (0, [], [])
    assert "would save $5.00/month on AWS" in gone.err
    assert not (cooked.home / ".local/state/gpujob/images/cake").exists()  # Tab offers it no more
    again = cooked.type("images", "rm", "cake", "--if-exists")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert cooked.type("images", "rm", "cake").code == 1
    assert "no image named 'cake'" in cooked.type("up", "plate", "--image", "cake").err


def test_a_bake_is_refused_before_anything_is_touched(cooked):
    add, cloud = control.add_faults, watch(cooked).cloud
    base = watch(cooked).living()[0]["InstanceId"]
    tags = {IMAGE_TAG: "theirs", OWNER_TAG: "arn:aws:iam::123456789012:user/other"}
    kinds = [tag_specification(kind, tags) for kind in ("image", "snapshot")]
    watch(cooked).ec2.create_image(InstanceId=base, Name="gpujob-theirs", TagSpecifications=kinds)

    assert "invalid image name 'ubuntu'" in cooked.type("bake", "pan", "--as", "ubuntu").err
    taken = cooked.type("bake", "pan", "--as", "theirs")
    assert (taken.code, "image 'theirs' already exists" in taken.err) == (2, True)
    refused = cooked.type("images", "rm", "theirs")
    assert (refused.code, "only they can delete it" in refused.err) == (2, True)
    add(cloud, "denied=ec2:CreateImage")
    assert "do not allow ec2:CreateImage" in cooked.type("bake", "pan", "--as", "cake").err
    control.clear_faults(cloud)
    cooked.type("run", "--detach", "--", "sleep", "600")
    running = cooked.type("bake", "pan", "--as", "cake")
    assert (running.code, "is still running" in running.err) == (1, True)
    assert "next: wait for it: gpujob logs --cluster pan -f 2; kill it: gpujob cancel --cluster pan 2\n" in running.err
    assert jobs(cooked) == [1, 2]
    assert [image["name"] for image in listed(cooked)] == ["theirs"]


def test_a_bake_killed_anywhere_is_taken_up_by_the_same_words(cooked):
    cloud = watch(cooked).cloud
    for point in ("CreateImage.2:before", "CreateImage.2:after"):
        process = cooked.start("bake", "pan", "--as", "cake")
        control.add_faults(cloud, f"kill={process.pid}:{point}")
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        control.clear_faults(cloud)
    images = watch(cooked).ec2.describe_images(Owners=["self"])["Images"]
    again = cooked.type("bake", "pan", "--as", "cake")
    assert again.code == 0, again.said
    assert [image["image_id"] for image in listed(cooked)] == [image["ImageId"] for image in images]
    assert cooked.type("run", "--", "true").code == 0
    third = cooked.type("bake", "pan", "--as", "cake")
    assert third.code == 2
    assert "image 'cake' already exists" in third.err


def test_a_bake_broken_off_is_told_instead_of_a_host_key_that_changed(cooked):
    process = cooked.start("bake", "pan", "--as", "cake")
    while b"to reboot" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1].decode()
    assert (process.returncode, "resume: gpujob bake pan --as cake" in said) == (130, True), said
    keys = cooked.home / ".local/state/gpujob/clusters/pan/known_hosts"
    pinned = keys.read_text()
    for words in (["run", "--", "true"], ["jobs"], ["ssh", "--", "true"], ["extend", "--hours", "1"]):
        wait_for(
            lambda words=words: "pins the new keys: gpujob bake pan --as cake" in cooked.type(*words).err,
            f"word of the bake by {words[0]}",
            60,
        )
    assert keys.read_text() == pinned
    assert cooked.type("bake", "pan", "--as", "cake").code == 0
    assert cooked.type("ssh", "--", "echo", "in").out == "in\n"


def test_a_machine_of_which_no_image_was_made_goes_on_working(cooked):
    control.add_faults(watch(cooked).cloud, "expired-after=CreateImage")
    failed = cooked.type("bake", "pan", "--as", "cake")
    assert failed.code == 1
    assert "RequestExpired" in failed.err
    control.clear_faults(watch(cooked).cloud)
    assert cooked.type("run", "--", "true").code == 0
    assert listed(cooked) == []
    assert cooked.type("bake", "pan", "--as", "cake").code == 0


def test_snapshots_that_a_broken_off_removal_left_are_shown_and_removed(cooked):
    assert cooked.type("bake", "pan", "--as", "cake").code == 0
    [image] = listed(cooked)
    watch(cooked).ec2.deregister_image(ImageId=image["image_id"])
    assert [(one["state"], one["usd_per_month"]) for one in listed(cooked)] == [("removed", 5.0)]
    assert "nothing to do" in cooked.type("sweep", "--yes").err
    assert cooked.type("images", "rm", "cake").code == 0
    assert snapshots(watch(cooked)) == []


def test_a_rehearsal_is_not_set_up_for_its_machines_are_this_laptop(rented):
    refused = rented.type("setup", "shared")
    assert refused.code == 2
    assert "processes on this computer" in refused.err
