"""The GPUs of a machine: one value in the program, the same text in tags and state files as ever."""

import pytest

from infra.ec2.tags import GPU_TAG, read_gpu
from infra.model import Cluster, Gpu, Node, format_gpu, parse_gpu

TEXTS = {
    "T4": Gpu("T4"),
    "A10G:4": Gpu("A10G", 4),
    "RTX PRO Server 6000:8": Gpu("RTX PRO Server 6000", 8),
    "none": None,
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_tag_tells_the_gpus_that_were_written_to_it(text):
    assert format_gpu(TEXTS[text]) == text
    assert read_gpu({GPU_TAG: text}) == TEXTS[text]


@pytest.mark.parametrize(
    "text", ["", ":", "T4:", "T4:0", "T4:-1", "T4:100", "T4:two", "T4:1:2", "\n", "T4\n", "x" * 41]
)
def test_a_damaged_tag_tells_of_no_gpu(text):
    assert parse_gpu(text) is None


@pytest.mark.parametrize("text", TEXTS)
def test_the_record_of_a_cluster_holds_its_gpus_as_text(text):
    node = Node("i-1", "running", "127.0.0.1", 22, "g5.12xlarge", "a")
    cluster = Cluster("c", "aws", "r", (node,), TEXTS[text], 1.0, 2e9, 1e9, "me")
    assert cluster.to_dict()["gpu"] == text
    assert Cluster.from_dict(cluster.to_dict()) == cluster


def test_a_machine_without_a_gpu_runs_one_job_at_a_time():
    node = Node("i-1", "running", "127.0.0.1", 22, "c7i.large", "a")
    assert Cluster("c", "aws", "r", (node,), None, 1.0, 2e9, 1e9, "me").gpu_count == 1
