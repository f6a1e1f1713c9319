"""How much to extend a lease by: `extend 2h`, `extend NAME 2h`, `extend NAME --hours 2`."""

import pytest

from tests.here import move_in, type_here


@pytest.mark.parametrize(
    ("typed", "cluster"),
    [
        ("2h", "project"),
        ("mine 2h", "mine"),
        ("mine --hours 2", "mine"),
        ("--hours 90m", "project"),
        ("2h --hours 1", "2h"),
    ],
)
def test_the_time_is_the_last_argument_or_an_option(tmp_path, monkeypatch, typed, cluster):
    move_in(tmp_path, monkeypatch)
    extend = type_here("extend", *typed.split())
    assert (extend.code, f"no cluster '{cluster}'" in extend.err) == (1, True), extend.said


def test_the_variable_names_the_cluster_where_only_the_time_is_typed(tmp_path, monkeypatch):
    move_in(tmp_path, monkeypatch)
    assert "no cluster 'other'" in type_here("extend", "2h", GPUJOB_CLUSTER="other").err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "next: gpujob extend 2h\n"),
        ("mine", "next: gpujob extend 2h\n"),
        ("mine 2h --hours 1", "next: gpujob extend 2h\n"),
        ("2", "2 what?\n  next: gpujob extend 2h, or: gpujob extend 2m\n"),
        ("mine 999h", "must be between"),
        ("mine soon", "'soon' is not a duration"),
    ],
)
def test_a_time_that_is_missing_or_unclear_is_refused(tmp_path, monkeypatch, typed, says):
    move_in(tmp_path, monkeypatch)
    extend = type_here("extend", *typed.split())
    assert (extend.code, says in extend.err) == (2, True), extend.said
