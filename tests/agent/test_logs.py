"""The end of a log is found by reading backwards, each byte at most once."""

import io
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.node.agent.requests import logs


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.read_bytes += len(found)
        return found


def seek_back(log: io.BytesIO, lines: int) -> int:
    with patch.object(logs, "CHUNK_BYTES", 7):
        return logs.seek_back(log, lines)


@given(st.lists(st.sampled_from(["a", "\n", "bar\r", "line\n", "é"]), max_size=40).map("".join), st.integers(0, 9))
def test_the_last_lines_are_found_whatever_their_length(text, lines):
    log = text.encode()
    starts = [0, *(at + 1 for at in range(len(log) - 1) if log[at : at + 1] == b"\n")]
    expected = starts[max(len(starts) - lines, 0)] if lines else len(log)
    assert seek_back(io.BytesIO(log), lines) == expected


@pytest.mark.parametrize("lines", [10, 5000, 10**6])
def test_no_part_of_a_log_is_read_twice_or_for_nothing(lines):
    log = Counted(b"1234567\n" * 5000)
    asked_bytes = min(8 * lines, 40_000)
    assert seek_back(log, lines) == 40_000 - asked_bytes
    assert log.read_bytes <= asked_bytes + 2 * 7
