import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from infra.base.installation import install_command
from infra.errors import CloudError
from infra.local import process, record
from tests import local_cloud_fixtures as fixtures
from tests.local_cloud_fixtures import IMAGE, World, alive, client, eventually

folder, world, shared, machine = fixtures.folder, fixtures.world, fixtures.shared, fixtures.machine

START = (
    "import sys; from pathlib import Path; from infra.local import process; print(process.start(Path(sys.argv[1])).pid)"
)


def start_elsewhere(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", START, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


# ---- life


def test_importing_the_command_line_s_side_loads_neither_moto_nor_asyncssh():
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import infra.local.process\n"
    script += "assert not {'moto', 'asyncssh', 'psutil', 'boto3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_starting_twice_gives_one_process_that_is_private_to_its_owner(folder):
    first = process.start(folder)
    assert process.start(folder) == first == process.find(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "cloud.json").stat().st_mode & 0o777 == 0o600


def test_two_starts_at_once_give_one_process_that_outlives_both_starters(folder):
    starters = [start_elsewhere(folder), start_elsewhere(folder)]
    pids = {starter.communicate(timeout=120)[0].strip() for starter in starters}
    assert len(pids) == 1
    assert process.find(folder).pid == int(pids.pop())


def test_stopping_tells_whether_there_was_anything_to_stop(folder):
    assert process.stop(folder) is False
    cloud = process.start(folder)
    assert process.stop(folder) is True
    assert not alive(cloud.pid)
    assert process.stop(folder) is False


def test_a_stale_record_is_not_found_even_if_its_process_id_lives_on(folder):
    folder.mkdir()
    record.write(folder, process.LocalCloud("http://127.0.0.1:9", "KEY", os.getpid()))
    assert process.find(folder) is None
    assert process.stop(folder) is False
    (folder / "cloud.json").write_text("{")
    assert process.find(folder) is None
    assert process.stop(folder) is False


def test_a_cloud_that_answers_with_another_key_is_not_ours(folder, tmp_path):
    cloud = process.start(folder)
    record.write(tmp_path, process.LocalCloud(cloud.url, "ANOTHERKEY", cloud.pid))
    assert process.find(tmp_path) is None


def test_a_cloud_that_hangs_can_be_stopped(folder, monkeypatch):
    monkeypatch.setattr(process, "ANSWER_S", 0.3)
    monkeypatch.setattr(process, "STOP_GRACE_S", 1)
    cloud = process.start(folder)
    os.kill(cloud.pid, signal.SIGSTOP)
    assert process.find(folder) is None
    assert process.stop(folder) is True
    assert not alive(cloud.pid)


def test_a_missing_package_is_named_with_the_command_that_brings_it(folder, monkeypatch):
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    with pytest.raises(CloudError, match="needs moto and asyncssh") as caught:
        process.start(folder)
    assert caught.value.hint == install_command("local")


def test_a_cloud_that_ends_at_once_is_reported_with_its_last_words(folder, monkeypatch):
    monkeypatch.setattr(process, "_arguments", lambda _: ["-c", "raise SystemExit('no room left')"])
    with pytest.raises(CloudError, match="no room left") as caught:
        process.start(folder)
    assert "cloud.log" in caught.value.hint


def test_a_broken_aws_profile_of_the_person_does_not_keep_it_from_starting(folder, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    assert process.start(folder)


def test_it_stays_for_a_stopped_instance_and_ends_by_itself_after_the_last_one(world, folder):
    machine = world.launch(InstanceInitiatedShutdownBehavior="stop")
    assert machine.port()
    world.ec2.stop_instances(InstanceIds=[machine.id])
    time.sleep(4)  # longer than it waits once nothing is left
    assert alive(world.cloud.pid)
    world.ec2.terminate_instances(InstanceIds=[machine.id])
    eventually(lambda: not alive(world.cloud.pid))
    assert {path.name for path in folder.iterdir()} == {"cloud.log"}
    assert (folder / "cloud.log").read_text() == ""


def test_a_new_start_follows_at_once_on_a_killed_cloud(world, folder):
    machine = world.launch()
    machine.port()
    os.kill(world.cloud.pid, signal.SIGKILL)
    again = process.start(folder)
    assert again.pid != world.cloud.pid
    assert not client(again, "ec2").describe_instances()["Reservations"]


def test_killing_the_cloud_takes_its_hosts_and_everything_in_them_along(world):
    machine = world.launch()
    host, daemon = machine.host().pid, machine.start_daemon()
    os.kill(world.cloud.pid, signal.SIGKILL)
    eventually(lambda: not alive(host) and not alive(daemon))


def test_stopping_takes_hosts_and_everything_in_them_along(world, folder):
    machine = world.launch()
    host, daemon = machine.host().pid, machine.start_daemon()
    process.stop(folder)
    assert not alive(host)
    assert not alive(daemon)


# ---- who may ask


def test_only_loopback_is_listened_on(shared, machine):
    machine.port()
    family = [psutil.Process(shared.cloud.pid), machine.host()]
    listening = [c.laddr.ip for one in family for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 2
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("service", "call"),
    [
        ("ec2", lambda c: c.describe_instances()),
        ("ssm", lambda c: c.get_parameter(Name=IMAGE)),
        ("sts", lambda c: c.get_caller_identity()),
        ("s3", lambda c: c.list_buckets()),
        ("pricing", lambda c: c.get_products(ServiceCode="AmazonEC2")),
        ("iam", lambda c: c.list_users()),
        ("autoscaling", lambda c: c.describe_auto_scaling_groups()),
    ],
)
def test_another_key_is_refused_by_every_service_and_the_right_one_is_not(shared, service, call):
    with pytest.raises(ClientError) as caught:
        call(client(shared.cloud, service, access_key="AKIAANOTHER"))
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert call(client(shared.cloud, service))


def ask_plainly(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url) as answer:
        return answer.read()


def test_a_request_without_a_signature_is_refused(shared):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask_plainly(f"{shared.cloud.url}/?Action=DescribeInstances")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask_plainly(f"{shared.cloud.url}/moto-api/data.json")


def test_the_key_is_never_shown_and_the_caller_s_address_is(shared):
    assert shared.cloud.access_key.encode() not in ask_plainly(f"{shared.cloud.url}/gpujob/ping?nonce=1")
    assert ask_plainly(f"{shared.cloud.url}/gpujob/checkip").strip() == b"127.0.0.1"


# ---- what moto lacks


def test_one_client_token_launches_once(shared):
    request = shared.request(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "<&>"}]}])
    first = shared.ec2.run_instances(**request)
    again = shared.ec2.run_instances(**request)
    assert again["ReservationId"] == first["ReservationId"]
    assert [i["InstanceId"] for i in again["Instances"]] == [i["InstanceId"] for i in first["Instances"]]
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        shared.ec2.run_instances(**request | {"InstanceType": "g5.2xlarge"})
    instance_id = first["Instances"][0]["InstanceId"]
    shared.ec2.terminate_instances(InstanceIds=[instance_id])
    assert shared.ec2.run_instances(**request)["Instances"][0]["State"]["Name"] == "terminated"
    assert shared.ec2.run_instances(**shared.request())["Instances"][0]["InstanceId"] != instance_id


def test_one_client_token_used_at_the_same_time_launches_once(shared):
    request, seen = shared.request(), []

    def launch() -> None:
        seen.append(shared.ec2.run_instances(**request)["Instances"][0]["InstanceId"])

    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_a_failed_launch_does_not_use_its_token_up(shared):
    request = shared.request(SecurityGroupIds=["sg-00000000"])
    with pytest.raises(ClientError, match="InvalidGroup"):
        shared.ec2.run_instances(**request)
    assert shared.ec2.run_instances(**request | {"SecurityGroupIds": []})["Instances"]


def prices_of(world: World, **fields: str) -> list[dict]:
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]
    pages = client(world.cloud, "pricing").get_paginator("get_products")
    found = pages.paginate(ServiceCode="AmazonEC2", Filters=filters, PaginationConfig={"PageSize": 10})
    return [json.loads(one) for page in found for one in page["PriceList"]]


LINUX = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}


def usd(product: dict) -> float:
    (term,) = product["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert dimension["unit"] == "Hrs"
    return float(dimension["pricePerUnit"]["USD"])


def test_prices_have_aws_s_own_shape(shared):
    (product,) = prices_of(shared, instanceType="g5.xlarge", regionCode="us-east-1", **LINUX)
    assert product["product"]["attributes"]["gpu"] == "1"
    assert usd(product) == 1.006
    (abroad,) = prices_of(shared, instanceType="g5.xlarge", regionCode="eu-central-1", **LINUX)
    assert usd(abroad) > 1.006


def test_the_price_of_a_disk_is_by_gib_and_month(shared):
    (disk,) = prices_of(shared, productFamily="Storage", volumeApiName="gp3", regionCode="us-east-1")
    (term,) = disk["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert (dimension["unit"], float(dimension["pricePerUnit"]["USD"])) == ("GB-Mo", 0.08)


def test_prices_come_in_pages_and_only_for_what_was_asked(shared):
    everything = prices_of(shared, regionCode="us-east-1", **LINUX)
    assert len(everything) == len({one["product"]["attributes"]["instanceType"] for one in everything}) > 40
    assert prices_of(shared, instanceType="g5.xlarge", operatingSystem="Windows") == []
    assert prices_of(shared, instanceType="x9.huge") == []


def test_quotas_are_known_for_gpu_families_alone(shared):
    quotas = client(shared.cloud, "service-quotas")
    for code in ("L-DB2E81BA", "L-417A185B", "L-3819A6DF", "L-7212CCBC", "L-C4BD4855", "L-1216C47A"):
        assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"] >= 64
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")


def test_image_parameters_name_an_image_that_can_be_launched_in_each_region(shared):
    for region in ("us-east-1", "eu-west-1"):
        value = client(shared.cloud, "ssm", region).get_parameter(Name=IMAGE)["Parameter"]["Value"]
        (image,) = client(shared.cloud, "ec2", region).describe_images(ImageIds=[value])["Images"]
        assert image["Architecture"] == "x86_64"
        assert image["RootDeviceType"] == "ebs"


def test_parameters_of_both_kinds_are_answered_together(shared):
    ssm = client(shared.cloud, "ssm")
    ssm.put_parameter(Name="/mine", Value="here", Type="String")
    unknown = IMAGE.replace("2.8", "1.0")
    answer = ssm.get_parameters(Names=["/mine", IMAGE, "/not-mine", unknown])
    assert {one["Name"] for one in answer["Parameters"]} == {"/mine", IMAGE}
    assert set(answer["InvalidParameters"]) == {"/not-mine", unknown}
    assert ssm.get_parameter(Name="/mine")["Parameter"]["Value"] == "here"
    for name in (unknown, "/not-mine"):
        with pytest.raises(ssm.exceptions.ParameterNotFound):
            ssm.get_parameter(Name=name)


def test_spot_prices_differ_by_zone_and_only_the_current_ones_are_listed_from_now_on(shared):
    ask = {"InstanceTypes": ["g5.xlarge", "g6.xlarge"], "ProductDescriptions": ["Linux/UNIX"]}
    ask["StartTime"] = datetime.now(UTC)
    rows = shared.ec2.describe_spot_price_history(**ask)["SpotPriceHistory"]
    of_g5 = [float(row["SpotPrice"]) for row in rows if row["InstanceType"] == "g5.xlarge"]
    assert len(set(of_g5)) > 1
    assert all(0.2 <= price / 1.006 < 1 for price in of_g5)
    assert shared.ec2.describe_spot_price_history(**ask)["SpotPriceHistory"] == rows
    in_zone = shared.ec2.describe_spot_price_history(**ask, AvailabilityZone="us-east-1b")["SpotPriceHistory"]
    assert [row["AvailabilityZone"] for row in in_zone] == ["us-east-1b"] * 2
    first = shared.ec2.describe_spot_price_history(**ask, MaxResults=1)
    assert first["SpotPriceHistory"] == rows[:1]
    assert first["NextToken"]
    pages = shared.ec2.get_paginator("describe_spot_price_history").paginate(**ask, PaginationConfig={"PageSize": 2})
    assert [row for page in pages for row in page["SpotPriceHistory"]] == rows
    assert (
        shared.ec2.describe_spot_price_history(InstanceTypes=["g5.xlarge"], ProductDescriptions=["Windows"])[
            "SpotPriceHistory"
        ]
        == []
    )


def test_spot_prices_move_and_what_they_were_stays_known_for_90_days(shared):
    ask = {"InstanceTypes": ["g5.xlarge"], "ProductDescriptions": ["Linux/UNIX"], "AvailabilityZone": "us-east-1b"}
    rows = shared.ec2.describe_spot_price_history(**ask)["SpotPriceHistory"]
    times = [row["Timestamp"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert timedelta(days=90) < datetime.now(UTC) - times[-1] < timedelta(days=91)
    assert len({row["SpotPrice"] for row in rows}) > len(rows) / 3
    some = shared.ec2.describe_spot_price_history(**ask, StartTime=times[2] + timedelta(hours=1), EndTime=times[1])
    assert some["SpotPriceHistory"] == rows[1:3], "from the last change before the start"


def test_instance_types_honour_wildcards(shared):
    ask = [{"Name": "instance-type", "Values": ["g5*", "p4d*"]}]
    names = {one["InstanceType"] for one in shared.ec2.describe_instance_types(Filters=ask)["InstanceTypes"]}
    assert {"g5.xlarge", "p4d.24xlarge"} <= names
    assert all(name.startswith(("g5", "p4d")) for name in names)


def test_offerings_honour_wildcards_and_pages(shared):
    ask = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": ["g5.x*", "p4d.*"]}]}
    whole = shared.ec2.describe_instance_type_offerings(**ask)["InstanceTypeOfferings"]
    assert {one["InstanceType"] for one in whole} == {"g5.xlarge", "p4d.24xlarge"}
    assert {one["Location"][:-1] for one in whole} == {"us-east-1"}
    pages = shared.ec2.get_paginator("describe_instance_type_offerings").paginate(
        **ask, PaginationConfig={"PageSize": 5}
    )
    assert [one for page in pages for one in page["InstanceTypeOfferings"]] == whole
    regions = shared.ec2.describe_instance_type_offerings(Filters=ask["Filters"])["InstanceTypeOfferings"]
    assert {one["Location"] for one in regions} == {"us-east-1"}


def test_what_belonged_to_a_terminated_instance_alone_is_gone(shared):
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100, "DeleteOnTermination": True, "Encrypted": True}}
    machine = shared.launch(BlockDeviceMappings=[disk])
    mine = [{"Name": "attachment.instance-id", "Values": [machine.id]}]
    (volume,) = (one["VolumeId"] for one in shared.ec2.describe_volumes(Filters=mine)["Volumes"])
    (interface,) = (one["NetworkInterfaceId"] for one in machine.describe()["NetworkInterfaces"])
    shared.ec2.terminate_instances(InstanceIds=[machine.id])

    def left() -> set[str]:
        volumes = {one["VolumeId"] for one in shared.ec2.describe_volumes()["Volumes"]}
        interfaces = shared.ec2.describe_network_interfaces()["NetworkInterfaces"]
        return (volumes | {one["NetworkInterfaceId"] for one in interfaces}) & {volume, interface}

    eventually(lambda: not left())
    eventually(lambda: not (shared.folder / "hosts" / machine.id).exists())


def test_the_console_is_silent_at_first_and_unknown_for_no_instance(shared):
    with pytest.raises(ClientError, match="InvalidInstanceID"):
        shared.ec2.get_console_output(InstanceId="i-0123456789abcdef0", Latest=True)
