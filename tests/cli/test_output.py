"""A job's output where it is no terminal's: progress bars without their steps, everything else as it is."""

import io

from hypothesis import given
from hypothesis import strategies as st

from cli.terminal.output import Output

PIECES = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"bar", b"\xff", b""]), max_size=30)


def pass_through(chunks: list[bytes], raw: bool = False) -> bytes:
    stream = io.BytesIO()
    output = Output(raw, stream)
    for chunk in chunks:
        output.write(chunk)
    output.flush()
    return stream.getvalue()


def test_of_a_progress_bar_the_last_step_is_kept():
    bar = [b"start\n", b"\r 10%", b"\r 50%", b"\r100%\nend", b"\n"]
    assert pass_through(bar) == b"start\n100%\nend\n"
    assert pass_through(bar, raw=True) == b"".join(bar)


def test_of_a_progress_bar_without_a_line_end_the_last_step_is_kept_however_long_it_runs():
    steps = [f"step {step} of 9999 {'#' * 50}\r".encode() for step in range(10_000)]
    assert pass_through(steps) == steps[-1]
    assert pass_through([b"".join(steps[at : at + 3000]) for at in range(0, 10_000, 3000)]) == steps[-1]
    assert pass_through([step[:-1].join([b"\r", b""]) for step in steps]) == steps[-1][:-1]


def test_windows_line_ends_and_text_without_an_end_stay():
    assert pass_through([b"one\r", b"\ntwo\r\nthree"]) == b"one\r\ntwo\r\nthree"
    assert pass_through([b"x" * 200_000]) == b"x" * 200_000


@given(PIECES)
def test_it_does_not_matter_how_the_output_was_cut_into_pieces(pieces):
    assert pass_through(pieces) == pass_through([b"".join(pieces)])


@given(st.lists(st.sampled_from([b"a", b"\n", b"\xff\x00", b"line\n"]), max_size=30))
def test_output_without_progress_bars_is_not_changed(pieces):
    assert pass_through(pieces) == b"".join(pieces)
