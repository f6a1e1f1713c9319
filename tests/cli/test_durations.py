"""Durations: each needs its unit, and none is misread, in options as in gpujob.toml."""

import math

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.options.durations import MOST_S, Since, parse_duration, parse_hours, parse_idle_stop, parse_since
from tests.here import move_in, type_here

NONSENSE = [
    "",
    " ",
    "soon",
    "-1h",
    "1.2.3h",
    "1e3s",
    "nan",
    "inf",
    "nanh",
    "1m1h",
    "30 minutes",
    "\u0663\u0660m",
    "1_0m",
    "+5m",
    "h",
    ".",
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0.5h", 1800),
        (".5m", 30),
        (" 1H ", 3600),
        ("365d", MOST_S),
    ],
)
def test_a_duration_with_its_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "0", "1.5", "60"])
@pytest.mark.parametrize("parse", [parse_duration, parse_since])
def test_a_bare_number_is_asked_for_its_unit(parse, text):
    with pytest.raises(click.BadParameter, match=rf"^{text} what\? Try {text}m \(minutes"):
        parse(text)


@pytest.mark.parametrize("text", [*NONSENSE, "0s", "0h0m", "366d", "999999999999d", "9" * 5000, "9" * 5000 + "h"])
@pytest.mark.parametrize("parse", [parse_duration, parse_hours, parse_idle_stop, parse_since])
def test_nonsense_and_what_is_too_long_or_too_short_is_refused(parse, text):
    with pytest.raises(click.BadParameter):
        parse(text)


@given(st.text(alphabet="0123456789.dhms- e_", max_size=12) | st.text(max_size=8))
def test_whatever_is_typed_is_a_sane_number_of_seconds_or_refused(text):
    for parse, most in ((parse_duration, MOST_S), (parse_idle_stop, MOST_S), (parse_hours, 720)):
        try:
            found = parse(text)
        except click.BadParameter:
            continue
        assert math.isfinite(found)
        assert 0 <= found <= most


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_parts_add_up(days, hours, minutes, seconds):
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize(
    ("text", "hours"), [("6", 6), ("1.5", 1.5), ("12h", 12), ("90m", 1.5), ("2d", 48), ("720", 720)]
)
def test_hours_have_their_unit_in_the_option_s_name_and_take_another(text, hours):
    assert parse_hours(text) == hours


@pytest.mark.parametrize("text", ["0", "721", "31d", "0.0001", "1e-300"])
def test_a_lease_is_between_a_second_and_thirty_days(text):
    with pytest.raises(click.BadParameter):
        parse_hours(text)


def test_an_idle_stop_can_be_switched_off():
    assert parse_idle_stop("never") == parse_idle_stop("off") == 0
    with pytest.raises(click.BadParameter, match="use never"):
        parse_idle_stop("0")


def test_a_log_is_asked_for_from_a_time_or_a_byte_on():
    assert parse_since("4096b") == Since(offset=4096)
    assert parse_since("10m").ago_s == 600
    assert 0 <= parse_since("14:05").ago_s < 86400
    assert parse_since("2020-01-01").ago_s > 1e8
    for text in ("9999-12-31T23:59", "0001-01-01T00:00"):
        try:
            assert parse_since(text).ago_s >= 0
        except click.BadParameter as error:
            assert "is not a time" in error.message


@pytest.mark.parametrize(
    "words",
    [
        ["up", "--idle-stop", "30"],
        ["up", "--boot-timeout", "30"],
        ["run", "--time-limit", "30", "--", "true"],
        ["run", "--hang-after", "30", "--", "true"],
        ["run", "--fetch-every", "30", "--", "true"],
        ["logs", "--since", "30"],
        ["top", "--every", "30"],
    ],
)
def test_every_option_that_takes_a_duration_refuses_a_bare_number(tmp_path, monkeypatch, words):
    project = move_in(tmp_path, monkeypatch)
    typed = type_here(*words)
    assert (typed.code, "30 what? Try 30m (minutes" in typed.err) == (2, True), typed.said
    variable = f"GPUJOB_{words[1].strip('-').replace('-', '_').upper()}"
    told = type_here(words[0], *words[3:], **{variable: "30"})
    assert (told.code, "30 what?" in told.err) == (2, True), told.said
    for value in ("30", '"30"'):
        (project / "gpujob.toml").write_text(f"[{words[0]}]\n{words[1].strip('-')} = {value}\n")
        read = type_here(words[0], *words[3:])
        assert (read.code, f"gpujob.toml: [{words[0]}] {words[1].strip('-')}: 30 what?" in read.err) == (2, True), (
            read.said
        )


@pytest.mark.parametrize("value", ["false", "[]", '["1h"]', "nan", "-1", "1e300", "{}", "2026-11-24"])
def test_what_is_no_duration_in_gpujob_toml_is_refused_in_words(tmp_path, monkeypatch, value):
    project = move_in(tmp_path, monkeypatch)
    (project / "gpujob.toml").write_text(f"[up]\nidle-stop = {value}\n")
    refused = type_here("up", "--dry-run")
    assert (refused.code, "gpujob.toml: [up] idle-stop: " in refused.err) == (2, True), refused.said


@pytest.mark.parametrize("text", ["nan", "inf", "1e300", "-5", "0", "1_0", "five"])
def test_money_is_a_plain_number(tmp_path, monkeypatch, text):
    move_in(tmp_path, monkeypatch)
    refused = type_here("up", "--dry-run", "--max-cost", text)
    assert (refused.code, "is not a positive amount in USD" in refused.err) == (2, True), refused.said


def test_a_count_of_gpus_that_nobody_can_read_is_refused(tmp_path, monkeypatch):
    move_in(tmp_path, monkeypatch)
    refused = type_here("up", "--dry-run", "--gpu", f"T4:{'9' * 5000}")
    assert (refused.code, "NAME:COUNT" in refused.err) == (2, True)
