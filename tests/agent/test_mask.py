"""A secret never shows in a log, however it is printed piece by piece; all else is as it was printed."""

import base64
import html
import json
import random
import re
import shlex
import string
import sys
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.node.agent.job.mask import Mask
from infra.node.agent.job.matching import as_triples


def show(secrets: list[str], pieces: list[bytes]) -> bytes:
    mask = Mask(secrets)
    return b"".join(map(mask.feed, pieces)) + mask.flush()


WORDS = st.text("ab", min_size=4, max_size=6)
PIECES = st.lists(st.text("abc", max_size=7).map(str.encode), max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=3), PIECES)
def test_no_secret_shows_wherever_it_is_cut_nor_does_it_depend_on_where(secrets, pieces):
    shown = show(secrets, pieces)
    assert not any(secret.encode() in shown for secret in secrets)
    assert shown == show(secrets, [b"".join(pieces)])


@given(PIECES)
def test_what_is_not_secret_passes_unchanged(pieces):
    assert show(["secret"], pieces) == b"".join(pieces)


@given(st.lists(st.text("ab", max_size=3), max_size=9))
def test_what_cannot_begin_a_secret_is_shown_at_once(pieces):
    mask = Mask(["xyzz"])
    assert [mask.feed(piece.encode()) for piece in pieces] == [piece.encode() for piece in pieces]


def test_a_line_of_a_secret_of_several_lines_is_masked_by_itself():
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----\n"
    assert show([key], [b"got AAAABBBBCCCC\n"]) == b"got ***\n"


@pytest.mark.parametrize(
    "encode",
    [quote, quote_plus, json.dumps, repr, shlex.quote, html.escape, lambda text: json.dumps(text, ensure_ascii=False),
     lambda text: text.encode().hex(), lambda text: repr(text.encode()), lambda text: f"{text.encode().hex()}".upper()],
)  # fmt: skip
@given(
    st.text(min_size=8).filter(lambda text: len(text.strip()) > 7 and not any("\ud800" <= c <= "\udfff" for c in text))
)
def test_a_value_is_masked_as_others_quote_it(encode, secret):
    assert show([secret], [encode(secret).encode()]).strip(b"\"'b") == b"***"


def test_no_part_of_a_value_is_masked_by_itself():
    assert show(["abcdefgh"], [b"bcdefg 'abcdefgh' abcdefgh"]) == b"bcdefg '***' ***"


@given(st.binary(max_size=5), st.text(st.characters(max_codepoint=126), min_size=9, max_size=60), st.binary(max_size=5))
def test_a_value_is_masked_in_base64_wherever_it_stands_in_what_was_encoded(before, secret, after):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = show([secret], [encode(before + secret.encode() + after)])
        assert b"***" in shown
        assert len(shown.replace(b"***", b"")) <= 4 * (len(before) + len(after) + 2) // 3 + 8


@pytest.mark.parametrize("short", ["1", "no", "abc", ""])
def test_a_value_that_any_text_has_is_not_masked(short):
    assert show([short, "long enough"], [b"1 abc no long enough"]) == b"1 abc no ***"
    assert show([short], [b"1 abc no"]) == b"1 abc no"


@given(
    st.lists(st.text("abc1", min_size=4, max_size=20), min_size=1, max_size=40, unique=True),
    st.lists(st.text("abc1", max_size=30) | st.integers(0, 39), max_size=20),
    st.integers(1, 30),
)
def test_of_many_values_the_first_and_longest_is_masked(secrets, text, step):
    """As by a regular expression with the values as alternatives, the longest first."""
    text = "".join(secrets[part % len(secrets)] if isinstance(part, int) else part for part in text).encode()
    values = sorted(Mask(secrets).matcher.values, key=len, reverse=True)
    expected = re.sub(b"|".join(map(re.escape, values)), b"***", text)
    assert show(secrets, [text]) == expected
    assert show(secrets, [text[at : at + step] for at in range(0, len(text), step)]) == expected


def make_secrets(count: int, least: int, most: int) -> list[str]:
    chance = random.Random(count)
    letters = string.ascii_letters + string.digits
    return ["".join(chance.choices(letters, k=chance.randint(least, most))) for _ in range(count)]


@pytest.mark.parametrize("sizes", [(4, 6), (7, 14), (15, 60), (1000, 3000)])
def test_a_hundred_values_are_masked_wherever_they_stand_among_bytes_of_any_kind(sizes):
    secrets, chance = make_secrets(100, *sizes), random.Random(1)
    around = [chance.randbytes(chance.randint(0, 9)).replace(b"*", b"") for _ in secrets]
    text = b"".join(noise + secret.encode() for noise, secret in zip(around, secrets, strict=True))
    shown = show(secrets, [text[at : at + 65536] for at in range(0, len(text), 65536)])
    assert not any(secret.encode() in shown for secret in secrets)
    assert shown.count(b"***") == 100


def count_calls(mask: Mask, chunk: bytes) -> int:
    """The calls, also of functions in C, that it takes to mask a chunk."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        mask.feed(chunk)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("sizes", [(15, 40), (1000, 3000)])
def test_the_work_depends_neither_on_the_number_nor_on_the_length_of_the_secrets(sizes):
    chunk = b"an ordinary line of output, of which there are many\n" * 1000
    for count in (1, 1000):
        assert count_calls(Mask(make_secrets(count, *sizes)), chunk) < 100


def test_a_key_of_many_lines_and_a_hundred_short_secrets_hold_no_job_up():
    chunk = b"an ordinary line of output, of which there are many\n" * 1000
    key = "\n".join(base64.b64encode(bytes([line] * 48)).decode() for line in range(50))
    assert count_calls(Mask([key]), chunk) < 100
    assert count_calls(Mask(make_secrets(100, 4, 6)), chunk) < len(chunk) / 20


def test_of_ordinary_text_hardly_any_place_is_compared_with_a_hundred_short_secrets():
    chance = random.Random(2)
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(1, 9))) for _ in range(10_000)]
    text, matcher = " ".join(words).encode(), Mask(make_secrets(100, 4, 6)).matcher
    assert len(matcher.find_short_heads(text)) == 0
    assert len(matcher.triples.findall(as_triples(text))) < len(text) / 250
