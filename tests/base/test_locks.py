"""A lock on a name: one holder at a time, and nothing left of it."""

import fcntl
import os
from pathlib import Path

import pytest

from infra.base.locks import try_lock


def test_a_hundred_names_that_were_locked_leave_no_file(tmp_path):
    for number in range(100):
        with try_lock(tmp_path / f"{number}.lock") as held:
            assert held
            with try_lock(tmp_path / f"{number}.lock") as again:
                assert not again
            assert (tmp_path / f"{number}.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="x"), try_lock(tmp_path / "lock"):
        raise ValueError("x")
    with try_lock(tmp_path / "lock") as held:
        assert held


def test_a_file_that_its_last_holder_has_just_removed_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    file, flock = tmp_path / "lock", fcntl.flock
    removed: list[int] = []

    def lock_late(descriptor: int, how: int) -> None:
        if not removed:  # another command ends between this one's opening the file and its locking it
            removed.append(os.fstat(descriptor).st_ino)
            Path(file).unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with try_lock(file) as held:
        assert held
        monkeypatch.undo()
        with try_lock(file) as again:  # as it would be if the removed file counted
            assert not again
