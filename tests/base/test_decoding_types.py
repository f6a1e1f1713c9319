"""Each type that a node's answer can have: what is taken for it, to the last number, and what is not."""

from dataclasses import dataclass
from typing import Literal

import pytest

from infra.base.decoding import MOST, MOST_SECONDS, decode
from infra.errors import NodeError


@dataclass(frozen=True)
class Answer:
    """One of each."""

    count: int
    note: str | None = None
    pair: tuple[str, int] = ("", 0)
    many: tuple[int, ...] = ()
    state: Literal["on", "off"] = "on"
    sure: bool = False


def wrong(kind, value) -> str:
    """Return what is said of a value that is none of this type."""
    with pytest.raises(NodeError) as caught:
        decode(kind, value)
    assert caught.value.hint == "gpujob jobs"
    return caught.value.what


def test_an_answer_is_made_of_what_json_holds():
    made = decode(Answer, {"count": 1, "note": None, "pair": ["a", 2], "many": [3, 4, 5], "state": "off", "sure": True})
    assert made == Answer(1, None, ("a", 2), (3, 4, 5), "off", True)
    assert decode(Answer, {"count": 1, "note": "said"}).note == "said"


def test_numbers_end_where_the_rest_of_the_program_does():
    assert MOST == 2**62, "sizes and counts that add up without leaving 64 bits"
    assert MOST_SECONDS == 1e11, "a date that datetime knows in any time zone"
    assert decode(int, MOST - 1) == MOST - 1
    assert decode(int, 0) == 0
    assert "is not int" in wrong(int, MOST)
    assert "is not int" in wrong(int, -1)
    assert decode(float, MOST_SECONDS - 1) == MOST_SECONDS - 1
    assert decode(float, 0) == 0
    assert "is not float" in wrong(float, MOST_SECONDS)
    assert "is not float" in wrong(float, -1), "a calendar begins in the year 1"


def test_whole_seconds_become_a_float_and_true_is_no_number():
    assert isinstance(decode(float, 3), float)
    assert "is not int" in wrong(int, True)
    assert "is not bool" in wrong(bool, 1)


@pytest.mark.parametrize("letter", ["\ud800", "\udbff", "\udc00", "\udc7f", "\udd00", "\udfff"])
def test_half_a_letter_is_no_text(letter):
    assert "is not str" in wrong(str, f"a{letter}")


@pytest.mark.parametrize("letter", ["\ud7ff", "\udc80", "\udcff", "\ue000", "\U0001f600", "\n"])
def test_whole_letters_and_bytes_that_are_not_utf_8_are(letter):
    assert decode(str, f"a{letter}") == f"a{letter}"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"count": None}, "None is not int"),
        ({"note": 1}, "1 is not str"),
        ({"pair": ["a"]}, "does not have 2 parts"),
        ({"pair": ["a", 1, 2]}, "does not have 2 parts"),
        ({"pair": [1, 1]}, "1 is not str"),
        ({"pair": "ab"}, "'ab' is not tuple"),
        ({"many": [1, "b"]}, "'b' is not int"),
        ({"many": None}, "None is not tuple"),
        ({"state": "lost"}, "'lost' is not"),
        ({"more": 1}, "is not Answer"),
    ],
)
def test_what_is_wrong_is_told(part, said):
    assert said in wrong(Answer, {"count": 1, **part})


def test_an_answer_needs_what_has_no_default_and_is_an_object():
    assert "Answer without count" in wrong(Answer, {})
    assert "is not Answer" in wrong(Answer, [1])


def test_what_is_said_of_a_long_answer_stays_short():
    assert len(wrong(int, "x" * 10_000)) <= 300
