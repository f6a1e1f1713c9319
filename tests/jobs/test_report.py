"""The report on a model: what it says, and that it can be read on a phone and a desktop, in light and dark."""

import csv
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import settings

from jobs import interpret
from jobs.data import Dataset, Split
from jobs.look.inside import patches
from jobs.look.mistakes import (
    confusion_matrix,
    hardest_classes,
    majority_baseline,
    most_confused,
    score_classes,
    show_worst,
)
from jobs.look.plots import figure, label_x
from jobs.look.report import Tile, show_tile, write_report
from jobs.look.sections import show_mistakes
from jobs.train import run

BROWSER = [
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
]
MEASURE = """<script>
const style = (name) => { const found = document.querySelector(name); return found ? getComputedStyle(found) : {} };
const grids = [...document.querySelectorAll(".tiles")].map((grid) => [...grid.querySelectorAll("img")]
  .map((image) => [Math.round(image.getBoundingClientRect().width), Math.round(image.getBoundingClientRect().height)]));
parent.document.body.dataset.measured = JSON.stringify({
  width: innerWidth, content: document.documentElement.scrollWidth, grids,
  tallest: Math.max(...[...document.querySelectorAll(".matrix thead")].map((each) => each.offsetHeight)),
  cut: [...document.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth).length,
  paper: style("body").backgroundColor, ink: style("body").color, dim: style(".dim").color,
  plots: [...document.querySelectorAll(".plots svg")].map((plot) => plot.getBoundingClientRect().width),
  drawn: [...document.querySelectorAll(".plots svg text")].map((text) => getComputedStyle(text).fill),
  filled: [...document.querySelectorAll(".plots svg path")].map((path) => getComputedStyle(path).fill),
  smallest: Math.min(...[...document.querySelectorAll("h1, h2, h3, p, td, th, span")]
    .map((each) => parseFloat(getComputedStyle(each).fontSize))) });
</script>"""


@pytest.fixture(scope="module")
def photo_report(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """The report on a model that has barely learned to tell photographs apart, so that it makes errors."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("report")
    for label in range(3):
        (folder / "photos" / f"class {label}").mkdir(parents=True)
        for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:40].tolist()):
            shown = Image.fromarray(digits.train.images[index, 0].numpy() * 15).convert("RGB").resize((24, 16))
            shown.save(folder / "photos" / f"class {label}" / f"photo {label}-{at}.png")
    run(settings(folder / "outputs", "lenet", folder / "photos", epochs=1, lr=0.0005))
    return interpret.main([str(folder / "outputs"), "--out", str(folder / "report")])


HARSH = (
    *(r"$\alpha_1$", "<script>alert(1)</script>", "犬", "😀 face", "\x1b[31mred\x07", "שלום עולם"),
    *(f"long {'x' * 180} variant {number}" for number in ("one", "two")),
)


@pytest.fixture(scope="module")
def harsh_report(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """The report on a model whose classes have the names that people give them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("harsh")
    with (folder / "costs $x$ 犬.csv").open("w", newline="", encoding="utf-8") as text:
        table = csv.writer(text)
        table.writerow(("name", "class"))
        for label, name in enumerate(HARSH):
            for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:10].tolist()):
                Image.fromarray(digits.train.images[index, 0].numpy()).save(folder / f"{label}-{at}.png")
                table.writerow((f"{label}-{at}.png", name))
    run(settings(folder / "outputs", "lenet", folder / "costs $x$ 犬.csv", epochs=1, lr=0.001))
    return interpret.main([str(folder / "outputs"), "--out", str(folder / "report")])


def test_names_of_classes_are_shown_as_they_are_and_harm_nothing(harsh_report):
    page = harsh_report.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)
    assert r"\x1b[31mred\x07" in page
    for name in ("犬", "😀 face", r"$\alpha_1$", "שלום עולם"):
        assert f"<bdi>{name}</bdi>" in page
    assert f"<td>{HARSH[-1]}</td>" in page, "a table has the whole name"
    said = html.unescape(page.split("<h2>Worst errors</h2>")[1].split("</section>")[0])
    lines = re.findall(r"<span>(?:true|predicted) (.*?) \(\d+%\)</span>", said)
    assert lines
    assert all(len(line) <= 62 for line in lines)
    assert all(line.startswith("\u2068") == line.endswith("\u2069") == ("ש" in line) for line in lines), (
        "and the number after it"
    )


def test_a_thousand_classes_make_a_page_that_can_be_read(tmp_path):
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(990, (3000,), generator=draw)  # ten have no test images
    chances = torch.rand(3000, 1000, generator=draw)
    split = Split(torch.zeros(3000, 1, 8, 8, dtype=torch.uint8), labels)
    data = Dataset("many", tuple(f"class {at}" for at in range(1000)), split, split)
    write_report(tmp_path / "report.html", "many", 0.0, "", show_mistakes(data, chances, tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 400_000
    matrix, confused, metrics = (page.split(f"<h2>{name}</h2>")[1].split("</section>")[0] for name in NAMES)
    assert "The 40 classes with the most errors, of 1,000" in matrix
    assert "all other classes" in matrix
    assert confused.count("<tr>") == 1 + 10
    shown, folded = metrics.split("<details><summary>960 more</summary>")
    assert (shown.count("<tr>"), folded.count("<tr>")) == (1 + 40 + 1, 1 + 960)
    assert "<tfoot><tr><td>mean of classes" in shown
    scores = [float(found) for found in re.findall(r">([\d.]+)%</td><td class=\"whole\">\d+</td></tr>", shown)]
    assert scores[:-1] == sorted(scores[:-1]), "lowest F1 first"
    assert "without test images, not in the means" in shown
    assert folded.count('<td class="whole">-</td>') == 3 * (1000 - len(labels.unique()))


NAMES = ("Confusion matrix", "Most confused", "Metrics per class")


def test_a_hundred_thousand_classes_need_no_memory_for_each_pair():
    """A matrix of all of them would take 80 GB."""
    classes = tuple(map(str, range(100_000)))
    labels, said = torch.tensor([0, 0, 7, 99_999]), torch.tensor([5, 5, 7, 0])
    assert [(each.truth, each.said, each.count) for each in most_confused(labels, said, classes)] == [
        ("0", "5", 2),
        ("99999", "0", 1),
    ]
    assert score_classes(labels, said, classes)[7].f1 == 1
    shown = hardest_classes(labels, said, len(classes), 2)
    assert shown.tolist() == [0, 5]
    assert confusion_matrix(labels, said, len(classes), shown).tolist() == [[0, 2, 0], [0, 0, 0]]


def test_large_images_make_no_large_page():
    picture = np.random.default_rng(0).integers(0, 256, (1500, 1000, 3)).astype(np.uint8)
    assert len(show_tile(Tile(picture))) < 256 * 256 * 3 * 4 / 3


def test_a_labelled_folder_may_lack_classes_but_has_no_others(photo_report, tmp_path, capsys):
    folder = tmp_path / "new"
    shutil.copytree(photo_report.parent.parent / "photos", folder)
    shutil.rmtree(folder / "class 1")
    words = [str(photo_report.parent.parent / "outputs"), "--data", str(folder), "--out", str(tmp_path / "report")]
    page = interpret.main(words).read_text()
    assert "new: 1 class without images: class 1" in capsys.readouterr().out
    metrics = page.split("<h2>Metrics per class</h2>")[1].split("</section>")[0]
    assert "1 class without test images, not in the means." in metrics
    rows = re.findall(r"<tr><td>(.*?)</td>" + r'<td class="whole">(.*?)</td>' * 4 + "</tr>", metrics)
    assert [row[0] for row in rows] == ["class 0", "class 2", "class 1", "mean of classes"]
    assert rows[2][1:] == ("-", "-", "-", "0")
    seen = [float(rows[at][2].rstrip("%")) for at in (0, 1, 3)]
    assert seen[2] == pytest.approx((seen[0] + seen[1]) / 2, abs=0.06)
    (folder / "class 2").rename(folder / "class 9")
    with pytest.raises(SystemExit, match="new: the model does not have these classes: class 9"):
        interpret.main(words)


def test_names_that_are_no_utf_8_are_shown(photo_report, tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    for name in (b"th\xe9", b"plain"):
        shutil.copytree(os.fsencode(photo_report.parent.parent / "photos" / "class 1"), folder + b"/" + name)
    run(settings(tmp_path / "outputs", "majority", tmp_path / "odd"))
    page = interpret.main([str(tmp_path / "outputs"), "--out", str(tmp_path / "report")]).read_text(encoding="utf-8")
    assert r"th\xe9" in page


def test_a_picture_shows_any_name_and_says_which_characters_no_font_has(tmp_path, capsys, recwarn):
    with figure(tmp_path / "picture.png") as axis:
        label_x(axis, "costs $5_x$ \U0010fff0")
        assert axis.get_xlabel() == "costs $5_x$ ?"
        assert not axis.xaxis.label.get_parse_math()
    assert "no installed font has \U0010fff0: the picture shows ? instead" in capsys.readouterr().out
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


def headings(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall("<h2>(.*?)</h2>", page)]


def test_the_headings_are_the_standard_ones_in_order(photo_report):
    assert headings(photo_report.read_text()) == [
        *(
            "Model card",
            "Provenance",
            "Training curves",
            "Confusion matrix",
            "Most confused",
            "Metrics per class",
            "Worst errors",
        ),
        *("Calibration", "Grad-CAM", "First-layer filters", "Feature maps", "Edges to parts", "Network", "Settings"),
    ]


def test_worst_errors_are_errors_only_and_name_their_files(digits):
    chances = torch.eye(10)[digits.test.labels]
    wrong = [3, 50, 99]
    chances[wrong] = chances[wrong].roll(1, dims=1) * 0.9 + 0.01
    tiles = show_worst(digits.test, chances, digits.classes)
    assert sorted(tile.lines[2] for tile in tiles) == sorted(f"test image {at}" for at in wrong)
    assert show_worst(digits.test, torch.eye(10)[digits.test.labels], digits.classes) == ()


def test_the_files_of_worst_errors_are_named(photo_report):
    section = photo_report.read_text().split("<h2>Worst errors</h2>")[1].split("</section>")[0]
    tiles = re.findall(
        r"<span>predicted class (\d) .*?</span><span>true class (\d) .*?</span><span>photo (\d)-\d+\.png</span>",
        section,
    )
    assert tiles
    assert all(said != true == file for said, true, file in tiles)


def test_scores_of_classes_and_the_baseline_are_those_of_scikit_learn(digits):
    from sklearn.dummy import DummyClassifier
    from sklearn.metrics import precision_recall_fscore_support

    chances = torch.rand(len(digits.test), 10, generator=torch.Generator().manual_seed(0))
    ours = score_classes(digits.test.labels, chances.argmax(dim=1), digits.classes)
    theirs = precision_recall_fscore_support(digits.test.labels, chances.argmax(dim=1), zero_division=0)
    for at, score in enumerate(ours):
        expected = [pytest.approx(float(column[at]), abs=1e-6) for column in theirs]
        assert [score.precision, score.recall, score.f1, score.images] == expected
    dummy = DummyClassifier().fit(digits.train.images.flatten(1), digits.train.labels)
    accuracy = dummy.score(digits.test.images.flatten(1), digits.test.labels)
    assert majority_baseline(digits.train.labels, digits.test.labels)[1] == pytest.approx(accuracy)


def test_the_occluding_patch_is_in_proportion_to_the_image():
    for height, width in ((8, 8), (64, 96), (224, 224)):
        regions = list(patches(height, width))
        sizes = {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in regions}
        assert sizes == {(height // 4, width // 4)}
        covered = torch.zeros(height, width)
        for rows, columns in regions:
            covered[rows, columns] = 1
        assert covered.all(), "every pixel is covered by some patch"


def test_provenance_names_commit_date_data_duration_and_accuracy(trained, tmp_path):
    folder = tmp_path / "files" / "outputs"
    shutil.copytree(trained, folder)
    (tmp_path / "receipt.json").write_text(
        json.dumps({"job": {"command": ["python", "my train.py"], "source": {"commit": "abc" * 14, "changed": True}}})
    )
    page = interpret.main([str(folder), "--out", str(tmp_path / "report")]).read_text()
    section = page.split("<h2>Provenance</h2>")[1].split("</section>")[0]
    rows = dict(re.findall(r"<th>(.*?)</th><td.*?>(.*?)</td>", section))
    assert "my train.py" not in page, "the page may be passed on; a command may name folders and secrets"
    assert rows["Commit"] == "abcabcabcabc with changes"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", rows["Date"])
    assert rows["Data set"] == "digits"
    assert re.fullmatch(r"[\d.]+ s", rows["Duration"])
    assert re.fullmatch(r"\d\d\.\d%", rows["Test accuracy"])
    assert "baseline, always predicting 3" in page


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_report_can_be_read_at_any_width_in_light_and_dark(photo_report, tmp_path, width, dark):
    measured = measure(photo_report, tmp_path, width, dark)
    assert measured["width"] == width
    assert (measured["content"] <= width, measured["cut"]) == (True, 0), "nothing sticks out or has to be scrolled"
    assert measured["smallest"] >= 12
    light_of = {name: lightness(measured[name]) for name in ("paper", "ink", "dim")}
    assert (light_of["paper"] < 0.5) is dark
    for name in ("ink", "dim"):
        high, low = sorted((light_of["paper"], light_of[name]), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"contrast of {name} (WCAG 2, level AA)"
    for grid in measured["grids"]:
        widths, heights = zip(*grid, strict=True)
        assert max(widths) - min(widths) <= 1
        assert max(heights) - min(heights) <= 1
    assert len(measured["plots"]) == 3
    assert all(250 < across <= width for across in measured["plots"])
    assert set(measured["drawn"]) == {measured["ink"]}, "plots are written in the page's colour"
    assert "rgb(255, 255, 255)" not in measured["filled"], "and have no white paper"


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_long_names_stay_on_a_phone_and_only_the_matrix_has_to_be_scrolled(harsh_report, tmp_path):
    measured = measure(harsh_report, tmp_path, 390, dark=False)
    assert measured["content"] <= 390
    assert measured["cut"] == 1
    assert measured["tallest"] < 250, "headings of the matrix are shortened"


def measure(page: Path, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """Return what a browser makes of a page of this width: sizes in pixels, and colours."""
    framed = folder / "page.html"
    inner = html.escape(page.read_text().replace("</body>", f"{MEASURE}</body>"))
    frame = f'<iframe srcdoc="{inner}" style="width: {width}px; height: 2000px; border: 0"></iframe>'  # no window is 390 wide
    framed.write_text(f'<!doctype html><meta name="color-scheme" content="light dark"><body>{frame}</body>')
    words = ["--window-size=1400,2000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    shown = subprocess.run(
        [*BROWSER, *words, f"--user-data-dir={folder}/profile", framed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    found: dict[str, Any] = json.loads(html.unescape(re.findall(r'data-measured="(.*?)"', shown)[0]))
    return found


def lightness(colour: str) -> float:
    """Return the relative luminance of rgb(...), as WCAG defines it."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
