"""CSV files of labels are read as people's tools write them, or refused in one line that says what is wrong."""

import csv
import io
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.errors import DataError
from jobs.images.labels import Columns, list_csv
from jobs.images.listing import Listing, find_images

NAMES = ("one.png", "two.png", "sub/three.png", "café.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "sub").mkdir()
    for name in NAMES:
        Image.new("L", (4, 4)).save(folder / unicodedata.normalize("NFD", name))
    return folder


def read(folder: Path, content: "str | bytes", strict: bool = False, **asked: str) -> tuple[Listing, Listing | None]:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list_csv(path, None, Columns(**asked), strict)


def pairs(listing: Listing) -> list[tuple[str, str]]:
    return sorted((path.stem, label) for path, label in zip(listing.files, listing.labels, strict=True))


PLAIN = "name,class\none,cat\ntwo,dog\nsub/three,cat\n"
EXPECTED = [("one", "cat"), ("three", "cat"), ("two", "dog")]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ", "),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("sub/", "sub\\"),
        PLAIN.replace("one", "one.png"),
        PLAIN.removeprefix("name,class\n"),  # fastai's examples have a header, many others none
        ",name,class\n0,one,cat\n1,two,dog\n2,sub/three,cat\n",  # pandas' to_csv with its index
        "class,name\ncat,one\ndog,two\ncat,sub/three\n",
        "name,cat,dog\none,1,0\ntwo,0,1\nsub/three,1,0\n",
        "name,cat,dog\none,1.0,0.0\ntwo,0.0,1.0\nsub/three,1.0,0.0\n",
        PLAIN + "one,cat\n",  # the same again
        PLAIN + "gone,dog\n",
        PLAIN + "café,nan\n",
        PLAIN + "café,\n",
    ],
)
def test_what_people_s_tools_write_is_read(pictures, content):
    listing, valid = read(pictures, content)
    assert pairs(listing) == EXPECTED
    assert valid is None


def test_numbers_are_classes_with_or_without_a_point_and_letters_are_composed_either_way(pictures):
    assert pairs(read(pictures, "name,class\none,1.0\ntwo,0.0\n")[0]) == [("one", "1"), ("two", "0")]
    for form in ("NFC", "NFD"):
        listing, _ = read(pictures, unicodedata.normalize(form, "name,class\ncafé,cat\none,dog\n"))
        assert len(listing.files) == 2
    listing, _ = read(pictures, "name,class\none,chat\ntwo,b\xeate\n".encode("cp1252"))
    assert listing.classes == ("bête", "chat")


def test_rows_marked_for_validation_are_tested_with(pictures, capsys):
    listing, valid = read(pictures, "name,class,is_valid\none,cat,False\ntwo,dog,False\nsub/three,cat,True\n")
    assert valid
    assert (pairs(listing), pairs(valid)) == ([("one", "cat"), ("two", "dog")], [("three", "cat")])
    assert "testing with the 1 row that" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("name,cat,dog\none,1,1\ntwo,0,1\n", "row 1 has 2 of the classes cat, dog"),
        (
            "name,tags\none,cat\ntwo,dog\nsub/three,cat dog\ncafé,cat bird\nmore,dog bird\nlast,bird\n",
            "several classes",
        ),
        ("name,tags\none,cat\ntwo,dog\nsub/three,cat|dog\n", "several classes in one cell, such as 'cat.dog'"),
        ("name,age\n" + "".join(f"{at},{at}.5\n" for at in range(60)), "'age' has 60 different numbers"),
        ("name,class,class\none,cat,dog\n", "two columns are called 'class'"),
        ("name,class\none,cat,dog\n", "row 2 has 3 cells"),
        ("name,class,is_valid\none,cat,perhaps\n", "'is_valid' is true or false, not 'perhaps'"),
        ("name\none\n", "needs a header, two columns"),
        ("name,class\ngone,cat\nalso,dog\n", "no image 'gone'"),
        (PLAIN.encode("utf-16-le"), "save it as UTF-8"),
        ('name,class\n"one,cat\ntwo,dog\n', "a quotation mark .* is never closed"),
        ('name,class\n"one,cat\n' + 20_000 * "two,dog\n", "a quotation mark .* is never closed"),
        ('name,class\n"one\n2",cat\n', r"no image 'one\\n2'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(pictures, content, why):
    with pytest.raises(DataError, match=why):
        read(pictures, content)


def test_what_is_left_out_is_named_and_strict_refuses_it(pictures, capsys):
    for more, left, why in (
        ("gone,dog\n", 3, "no image 'gone'"),
        ("one,dog\n", 2, "listed more than once: one, 1 of them with different classes"),
    ):
        listing, _ = read(pictures, PLAIN + more)
        assert len(listing.files) == left
        assert why.split()[-1].strip("'") in capsys.readouterr().out
        with pytest.raises(DataError, match=why):
            read(pictures, PLAIN + more, strict=True)


@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet=st.characters() | st.sampled_from('",;\n\t01.'), max_size=200))
)
def test_any_file_is_listed_or_refused(pictures, content):
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    try:
        listing, _ = read(pictures, content)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert len(listing.files) == len(listing.labels) == len(listing.units)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[dict[str, str], bytes]:
    """Return each image's class, and a CSV file that says so in some program's way."""
    letters = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp", "Cf"))
    word = st.one_of(
        st.sampled_from(["cat", "dog", "Main Coon", "1", "0", "2.0", "3.5", "a,b", "a;b", 'say "hi"', "nan", "-1"]),
        st.text(letters | st.sampled_from(" ,;|.'"), min_size=1, max_size=12),
    )
    truth = {name: draw(word).strip() or "none" for name in NAMES}
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    slash, ending, form = draw(st.sampled_from("/\\")), draw(st.booleans()), draw(st.sampled_from(["NFC", "NFD"]))
    rows = []
    for at, (name, label) in enumerate(truth.items()):
        shown = unicodedata.normalize("NFC" if encoding == "cp1252" else form, name).replace("/", slash)
        rows.append([shown if ending else shown.removesuffix(".png"), label, f"{at / 7:.3f}", f"note {at}, of {label}"])
    order = draw(
        st.permutations([0, 1, 2, 3]).filter(lambda found: found.index(1) < min(found.index(2), found.index(3)))
    )
    header = [["name", "label", "score", "note"]] * draw(st.booleans())
    table = [[row[at] for at in order] for row in [*header, *rows]]
    if draw(st.booleans()) and header:  # pandas' index
        table = [[*[""] * (at == 0), *[str(at - 1)] * (at > 0), *row] for at, row in enumerate(table)]
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=draw(st.sampled_from(",;\t|")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerows(table)
    return truth, (text.getvalue() + draw(st.sampled_from(["", "\n", "\r\n"]))).encode(encoding, "replace")


def same_class(found: str, written: str) -> bool:
    """Return whether a class is the one that was written: 2.0 is 2, and Windows-1252 lacks most letters."""
    numbers = {found, found + ".0"}
    return written in numbers or written.encode("cp1252", "replace").decode("cp1252") == found


@settings(max_examples=int(os.environ.get("FUZZ_CSV", "40")), deadline=None)
@given(spellings())
def test_a_class_is_the_one_that_was_written_or_the_file_is_refused(pictures, spelled):
    truth, content = spelled
    try:
        listing, _ = read(pictures, content)
    except DataError as error:
        assert "\n" not in str(error)
        return
    by_stem = {Path(name).stem: label for name, label in truth.items()}
    for file, label in zip(listing.files, listing.labels, strict=True):
        assert same_class(label, by_stem[unicodedata.normalize("NFC", file.stem)]), content
    assert len(listing.files) == sum(label != "nan" for label in truth.values()) or b"?" in content


def test_images_are_found_behind_links_and_without_endings_and_the_rest_is_counted(tmp_path, pictures, capsys):
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    (tmp_path / "far").mkdir()
    for name in ("scan", "photo.jfif", "IMG.0017"):
        Image.new("L", (4, 4)).save(tmp_path / "far" / name, "JPEG")
    (folder / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "round").symlink_to(folder)
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "IMG.jpg").mkdir()
    (folder / "notes.txt").write_text("no image")
    (folder / "LICENSE").write_text("no image")
    os.mkfifo(folder / "pipe.png")
    (folder / ".hidden.png").write_text("")
    found = [path.name for path in find_images(folder)]
    assert len(found) == len(NAMES) + 3
    assert {"scan", "photo.jfif", "IMG.0017"} <= set(found)
    said = capsys.readouterr().out
    assert "1 .txt, 1 broken link, 1 special file, 1 without an extension" in said
