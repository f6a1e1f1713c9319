"""What a bucket stores of jobs, whether that is all of them, and what S3 bills for it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber

from cli.account.bucket import bucket_facts
from cli.uploads.stored import describe_usage
from infra.ec2.storage.objects import Store
from infra.ec2.storage.prices import GIB_MONTH_USD, PUT_USD
from infra.node.agent.bucket.layout import done_name
from infra.saved.usage import count_requests, find_complete, list_stored, measure
from tests import s3
from tests.results.test_saved import JOB, MACHINE

proxy, store = s3.proxy, s3.store
GIB = 1 << 30


def put(store: Store, key: str, content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    store.account.s3.put_object(Bucket=store.bucket, Key=key, Body=body)


def end_part(store: Store, root: str, task: int, requests: int = 0, nodes: int = 1) -> None:
    """Write what a machine has uploaded of its part of a job when that has ended."""
    place = f"{root}tasks/{task}"
    put(store, f"{place}/1/job.json", {"version": 1, "job": {**JOB, "nodes": nodes}, "cluster": MACHINE})
    put(store, f"{place}/1/outputs.json", {"put_requests": 5})
    put(store, f"{place}/end.json", {"complete": True, "put_requests": requests})


def list_complete(store: Store) -> set[str]:
    return {each.prefix for each in find_complete(store, list_stored(store))}


def count_all(store: Store) -> int:
    return sum(count_requests(store, name) for job in list_stored(store) for name in job.counts)


@pytest.fixture
def prices(store: Store) -> Iterator[Stubber]:
    """The price list of the account, which answers as a test says."""
    with Stubber(store.account.pricing) as stub:
        yield stub


def answer(stub: Stubber, field: str, unit: str, *usd: str) -> None:
    """Let the price list have these prices of what has a field, in the bucket's region only."""
    dimensions = {str(each): {"unit": unit, "pricePerUnit": {"USD": price}} for each, price in enumerate(usd)}
    product = {"terms": {"OnDemand": {"x": {"priceDimensions": dimensions}}}}
    stub.add_response(
        "get_products", {"PriceList": [json.dumps(product)]}, {"ServiceCode": "AmazonS3", "Filters": Asked(field)}
    )


class Asked:
    """Filters of a question to the price list: of the region, and of this field among others."""

    def __init__(self, field: str) -> None:
        self.field = field

    def __eq__(self, filters: object) -> bool:
        asked = {each["Field"]: each["Value"] for each in filters}  # type: ignore[attr-defined]
        return asked["regionCode"] == "us-east-1" and self.field in asked.values()

    __hash__ = None  # type: ignore[assignment]


def test_requests_are_counted_once_and_priced_like_the_region_s(store: Store, prices: Stubber) -> None:
    end_part(store, "c/one/", 0, requests=1000)  # the manifest's 5 are among them
    put(store, "c/two/tasks/0/1/outputs.json", {"put_requests": 200})  # has not ended
    end_part(store, "c/three/", 0, requests=30)
    end_part(store, "c/three/", 1, requests=40)
    put(store, "d/four/tasks/0/1/outputs.json", {"put_requests": 7})
    answer(prices, "Standard", "GB-Mo", "0.021", "0.023", "0.022")
    answer(prices, "S3-API-Tier1", "Requests", "0.000005")
    found = measure(store, "c")
    prices.assert_no_pending_responses()
    assert (found.jobs, found.put_requests) == (3, 1270)
    assert found.requests_usd == pytest.approx(1270 * 0.000005)
    assert found.month_usd == pytest.approx(found.size_bytes / GIB * 0.023)
    assert describe_usage(store, found).endswith("; uploading took 1270 requests, under $0.01 once")
    assert bucket_facts("b", found)["put_requests"] == 1270


def test_each_attempt_of_a_sent_job_counts_its_own_requests(store: Store) -> None:
    put(store, "c/t/send.json", {})
    for attempt, requests in ((1, 10), (2, 20)):
        put(store, f"c/t/tasks/0/{attempt}/outputs.json", {"put_requests": requests})
    put(store, "c/t/tasks/0/end.json", {"attempt": 2})
    assert count_all(store) == 30
    assert [len(job.counts) for job in list_stored(store)] == [2]  # the end of a sent job has no count


def test_what_a_machine_counts_wrong_costs_nothing_and_hides_nothing(store: Store) -> None:
    for place, wrong in enumerate((b"", b"[]", b"null", *({"put_requests": each} for each in (-5, 1e300, "9")))):
        put(store, f"c/{place}/tasks/0/1/outputs.json", wrong)
    put(store, "c/u/tasks/0/1/outputs.json", {"put_requests": 3})
    assert count_all(store) == 3


def test_without_a_price_list_the_highest_price_counts(store: Store, prices: Stubber) -> None:
    put(store, "c/t/tasks/0/1/outputs.json", {"put_requests": 100})
    for _ in range(2):
        prices.add_client_error("get_products", "AccessDeniedException", "no", 400)
    found = measure(store)
    assert found.requests_usd == pytest.approx(100 * PUT_USD)
    assert found.month_usd == pytest.approx(found.size_bytes / GIB * GIB_MONTH_USD)


def test_a_job_of_which_one_node_uploaded_nothing_is_not_complete(store: Store) -> None:
    end_part(store, "c/t/", 0, nodes=2)
    assert not list_complete(store)
    end_part(store, "c/t/", 1, nodes=2)
    assert list_complete(store) == {"c/t/"}
    put(store, "c/t/tasks/1/end.json", {"complete": False})  # some of its outputs could not be read
    assert not list_complete(store)
    put(store, "c/t/tasks/1/end.json", {"complete": True})
    assert list_complete(store) == {"c/t/"}
    put(store, "c/t/tasks/1/1/outputs.json", {})
    store.delete(["c/t/tasks/1/end.json"])
    assert not list_complete(store)


def test_a_job_is_not_complete_if_only_another_node_than_the_first_uploaded_it(store: Store) -> None:
    end_part(store, "c/t/", 1, nodes=2)
    assert not list_complete(store)


def test_a_sent_array_is_complete_once_each_of_its_tasks_has_ended(store: Store) -> None:
    tasks: list[dict[str, Any]] = [{"index": each, "values": {}} for each in range(3)]
    put(store, "c/t/send.json", {"array": {"tasks": tasks}, "request": {"after": 0, "command": ["x"]}})
    put(store, "c/sent/send.json", {"array": None, "request": {}})
    put(store, "c/sent/tasks/0/end.json", {"complete": True})
    for task in range(3):
        assert list_complete(store) == {"c/sent/"}
        put(store, f"c/t/tasks/{task}/end.json", {"complete": task < 2})
    assert list_complete(store) == {"c/sent/"}
    put(store, f"c/t/tasks/2/{done_name(1, 5.0, 1.0, 'i-0123456789abcdef0')}", {})
    assert list_complete(store) == {"c/sent/", "c/t/"}


def test_a_job_whose_record_cannot_be_read_is_not_complete(store: Store) -> None:
    end_part(store, "c/t/", 0)
    for record in (b"{", {"version": 1}, b"[]"):
        put(store, "c/t/tasks/0/1/job.json", record)
        assert not list_complete(store)
