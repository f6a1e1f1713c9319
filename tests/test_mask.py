"""A secret never shows in a log, however it is printed piece by piece; all else is as it was printed."""

from hypothesis import given
from hypothesis import strategies as st

from infra.node.agent.mask import Mask


def show(secrets: list[str], pieces: list[bytes]) -> bytes:
    mask = Mask(secrets)
    return b"".join(map(mask.feed, pieces)) + mask.flush()


WORDS = st.text("ab", min_size=1, max_size=4)
PIECES = st.lists(st.text("abc", max_size=5).map(str.encode), max_size=12)


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
    mask = Mask(["xyz"])
    assert [mask.feed(piece.encode()) for piece in pieces] == [piece.encode() for piece in pieces]


def test_a_line_of_a_secret_of_several_lines_is_masked_by_itself():
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----\n"
    assert show([key], [b"got AAAABBBBCCCC\n"]) == b"got ***\n"
