"""The loader finds real images wherever they lie, and says what it lacks. The idx files here hold scikit-learn's digits."""

import gzip
import shutil
import struct
from pathlib import Path

import pytest
import torch

from jobs.data import FILES, INSTALLED, DataError, Dataset, digits, fetch, load

NOWHERE = Path("/nowhere")
needs_debian = pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")


def write_idx(folder: Path, data: Dataset) -> Path:
    """Write `data` as the four idx files: a magic number that says how many dimensions, each size, the bytes."""
    tensors = (data.train_images.squeeze(1), data.train_labels, data.test_images.squeeze(1), data.test_labels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in zip(FILES, tensors, strict=True):
        head = struct.pack(f">{1 + tensor.dim()}i", 0x0800 + tensor.dim(), *tensor.shape)
        (folder / name).write_bytes(head + bytes(tensor.flatten().tolist()))
    return folder


def pack(folder: Path, names: tuple[str, ...] = FILES) -> None:
    for name in names:
        with (folder / name).open("rb") as plain, gzip.open(folder / f"{name}.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed)
        (folder / name).unlink()


def same(one: Dataset, other: Dataset) -> bool:
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_idx(tmp_path / "idx", digits())


@needs_debian
def test_debians_files_are_found_without_being_asked_for(tmp_path: Path) -> None:
    data = load(cache=tmp_path, download=False)
    assert data.name == "Fashion-MNIST"
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert data.train_images.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert data.test_labels.bincount().tolist() == [1_000] * 10
    assert data.classes[0] == "T-shirt/top"
    assert list(tmp_path.iterdir()) == []


def test_plain_files_give_the_pixels_that_were_written(folder: Path) -> None:
    assert same(load(folder), digits())


def test_plain_packed_and_mixed_files_give_identical_tensors(folder: Path) -> None:
    plain = load(folder)
    pack(folder, FILES[:2])
    mixed = load(folder)
    pack(folder, FILES[2:])
    packed = load(folder)
    assert same(plain, mixed)
    assert same(plain, packed)


def test_loading_leaves_the_working_folder_and_the_data_folder_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    pack(folder)
    load(Path("../idx"))
    assert list(work.iterdir()) == []
    assert {path.name for path in folder.iterdir()} == {f"{name}.gz" for name in FILES}


def test_relative_folders_of_plain_files_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert same(load(Path("idx")), digits())


def test_the_missing_file_is_named(folder: Path) -> None:
    (folder / FILES[2]).unlink()
    with pytest.raises(DataError, match=str(folder / FILES[2])):
        load(folder)


def test_a_folder_asked_for_is_never_replaced_by_another_source() -> None:
    with pytest.raises(DataError, match="/nowhere"):
        load(NOWHERE)


@pytest.mark.parametrize("content", [b"", b"no idx file", b"\0\0\x08\x03" + bytes(12)])
def test_a_broken_file_is_an_error_that_names_the_folder(folder: Path, content: bytes) -> None:
    (folder / FILES[0]).write_bytes(content)
    with pytest.raises(DataError, match=str(folder)):
        load(folder)


def test_a_truncated_gz_is_an_error_that_names_the_folder(folder: Path) -> None:
    pack(folder)
    packed = folder / f"{FILES[0]}.gz"
    packed.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(DataError, match=str(folder)):
        load(folder)


def test_labels_of_other_images_are_refused(folder: Path) -> None:
    shutil.copy(folder / FILES[3], folder / FILES[1])
    with pytest.raises(DataError, match="belong together"):
        load(folder)


def test_what_was_downloaded_once_is_found_again(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw", digits())
    assert load(installed=NOWHERE, cache=tmp_path, download=False).name == "Fashion-MNIST"


def test_a_download_that_takes_too_long_is_given_up_without_leftovers(tmp_path: Path) -> None:
    assert fetch(tmp_path, limit=0.1) == "no download within 0.1 s"
    assert list(tmp_path.iterdir()) == []


def test_digits_serve_where_nothing_else_is_found_and_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load(installed=NOWHERE, cache=tmp_path, download=False)
    said = capsys.readouterr().out
    assert data.name == "digits"
    assert data.train_images.shape == (1_437, 1, 8, 8)
    assert data.test_images.shape == (360, 1, 8, 8)
    assert said.count("\n") == 1
    assert "digits" in said


def test_the_digits_are_split_the_same_way_every_time() -> None:
    assert same(digits(), digits())
