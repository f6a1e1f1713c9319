"""A secret never shows in a log, however it is printed piece by piece; all else is as it was printed."""

import base64
import html
import json
import shlex
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.node.agent.job.mask import Mask


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


def test_a_key_of_many_lines_holds_no_job_up():
    key = "\n".join(base64.b64encode(bytes([line] * 48)).decode() for line in range(50))
    mask, start = Mask([key]), time.process_time()
    for _ in range(50):
        mask.feed(b"an ordinary line of output, of which there are many\n" * 1000)
    assert time.process_time() - start < 2, "for 2.6 MB"
