"""The cache of decoded images stays below its limit: what was used least recently goes first."""

import os

import pytest
import torch

from jobs import cache
from jobs.images import cache as files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of three data sets, of which the first was used last."""
    monkeypatch.setattr(files, "FOLDER", tmp_path / "cache")
    sources = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, source in enumerate(sources):
        source.write_bytes(bytes([number]))
        files.cached(files.FOLDER, [source], "", lambda: (torch.zeros(1000, dtype=torch.uint8), [0]))
    for number, (path, _) in enumerate(reversed(files.list_files(files.FOLDER)), 1):
        os.utime(path, (number, number))
    files.cached(files.FOLDER, [sources[0]], "", lambda: pytest.fail("it is cached"))
    return files.FOLDER


def test_what_was_used_least_recently_goes_when_the_limit_is_reached(folder):
    sizes = [info.st_size for _, info in files.list_files(folder)]
    last = files.list_files(folder)[0][0]
    assert files.trim(folder, sum(sizes)) == 0
    assert files.trim(folder, sizes[0] + sizes[1] - 1) == sizes[1] + sizes[2]
    assert [path for path, _ in files.list_files(folder)] == [last]
    assert len(list(folder.glob("decoded/*.json"))) == 1


@pytest.mark.parametrize(("words", "said"), [(["ls"], "3 cached data sets"), (["rm"], "freed 0.000 GB")])
def test_the_cache_is_listed_and_removed(folder, monkeypatch, capsys, words, said):
    monkeypatch.setattr("sys.argv", ["jobs.cache", *words])
    cache.main()
    assert said in capsys.readouterr().out
    assert len(files.list_files(folder)) == (3 if words == ["ls"] else 0)
