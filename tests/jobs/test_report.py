"""The report on a model: what it says, and that it can be read on a phone and a desktop, in light and dark."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import settings

from jobs import interpret
from jobs.data import Dataset
from jobs.look.inside import patches
from jobs.look.mistakes import confusion_matrix, majority_baseline, score_classes, show_worst
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
  cut: [...document.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth).length,
  paper: style("body").backgroundColor, ink: style("body").color, dim: style(".dim").color,
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


def headings(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall("<h2>(.*?)</h2>", page)]


def test_the_headings_are_the_standard_ones_in_order(photo_report):
    assert headings(photo_report.read_text()) == [
        *("Provenance", "Training curves", "Confusion matrix", "Most confused", "Metrics per class", "Worst errors"),
        *("Calibration", "Grad-CAM", "First-layer filters", "Feature maps", "Network", "Settings"),
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
    ours = score_classes(confusion_matrix(chances, digits.test.labels), digits.classes)
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


def test_provenance_names_command_commit_date_data_duration_and_accuracy(trained, tmp_path):
    folder = tmp_path / "files" / "outputs"
    shutil.copytree(trained, folder)
    (tmp_path / "receipt.json").write_text(
        json.dumps({"job": {"command": ["python", "my train.py"], "source": {"commit": "abc" * 14, "changed": True}}})
    )
    page = interpret.main([str(folder), "--out", str(tmp_path / "report")]).read_text()
    section = page.split("<h2>Provenance</h2>")[1].split("</section>")[0]
    rows = dict(re.findall(r"<th>(.*?)</th><td.*?>(.*?)</td>", section))
    assert html.unescape(rows["Command"]) == "python 'my train.py'"
    assert rows["Commit"] == "abcabcabcabc with changes"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", rows["Date"])
    assert rows["Data set"] == "digits"
    assert re.fullmatch(r"[\d.]+ s", rows["Duration"])
    assert re.fullmatch(r"\d\d\.\d%", rows["Test accuracy"])
    assert "baseline, always predicting 3" in page


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_report_can_be_read_at_any_width_in_light_and_dark(photo_report, tmp_path, width, dark):
    page = tmp_path / "page.html"
    inner = html.escape(photo_report.read_text().replace("</body>", f"{MEASURE}</body>"))
    frame = f'<iframe srcdoc="{inner}" style="width: {width}px; height: 2000px; border: 0"></iframe>'  # no window is 390 wide
    page.write_text(f'<!doctype html><meta name="color-scheme" content="light dark"><body>{frame}</body>')
    words = ["--window-size=1400,2000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    shown = subprocess.run(
        [*BROWSER, *words, f"--user-data-dir={tmp_path}/profile", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    measured = json.loads(html.unescape(re.findall(r'data-measured="(.*?)"', shown)[0]))
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


def lightness(colour: str) -> float:
    """Return the relative luminance of rgb(...), as WCAG defines it."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
