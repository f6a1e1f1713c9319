"""While a job runs, a large file that keeps changing is not downloaded each time, and what is large altogether not unasked."""

import pytest

from infra.fetch.pace import RATE, Pace, fit
from infra.model import Output

GB = 1_000_000_000


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def output(path: str, size_bytes: int, same_as: str = "") -> Output:
    return Output(path, size_bytes, "0" * 64, 0o644, same_as=same_as)


def downloads(pace: Pace, clock: Clock, names: list[str], size_bytes: int, minutes: int) -> int:
    """How often something is downloaded of which there is a new version each minute."""
    count = 0
    for minute in range(minutes):
        clock.now_s = 60.0 * minute
        count += len(pace.choose([output(names[minute % len(names)], size_bytes)]))
    return count


def test_a_checkpoint_of_two_gigabytes_that_is_written_each_minute_comes_once_an_hour(clock):
    assert downloads(Pace(100 * GB, clock), clock, ["last.pt"], 2 * GB, 240) == 4


def test_checkpoints_that_differ_by_their_number_alone_are_paced_as_one(clock):
    names = [f"ck/step-{step}.pt" for step in range(0, 240_000, 1000)]
    assert downloads(Pace(1000 * GB, clock), clock, names, 2 * GB, 240) == 4


def test_a_small_file_that_changes_comes_each_time(clock):
    assert downloads(Pace(GB, clock), clock, ["metrics.json"], 100_000, 240) == 240


def test_parts_of_one_file_that_are_there_together_come_together(clock):
    shards = [output(f"model-{part:05}-of-00005", GB) for part in range(5)]
    assert Pace(10 * GB, clock).choose(shards) == shards


def test_what_goes_beyond_the_limit_waits_and_the_small_files_come(clock):
    pace = Pace(GB, clock)
    assert pace.choose([output("big", 2 * GB), output("a", 10), output("b", GB - 20)]) == [
        output("a", 10),
        output("b", GB - 20),
    ]
    clock.now_s = 2 * GB / RATE
    assert pace.choose([output("c", 100)]) == []
    pace.forget(["b"])
    assert pace.choose([output("c", 100)]) == [output("c", 100)]


def test_a_file_that_is_replaced_counts_once(clock):
    pace = Pace(GB, clock)
    for hour in range(5):
        clock.now_s = 3600.0 * hour
        assert pace.choose([output("last.pt", GB - 1)])


def test_a_second_name_of_one_file_takes_no_room():
    assert len(fit([output("a", GB), output("b", GB, same_as="a"), output("c", GB, same_as="a")], GB)) == 3
