"""What is done with a trained model: looking inside, predicting, submitting, exporting, comparing."""

import csv
import io
import json
import os
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs import compare, export, interpret, perceptron, predict, submit
from jobs.errors import CheckpointError, DataError
from jobs.look.inside import grad_cam, occlusion
from jobs.look.mistakes import calibration, confusion_matrix, most_confused
from jobs.models.modelfile import load_model


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as text:
        return list(csv.DictReader(text))


def test_the_report_is_one_file_that_needs_no_other_and_no_script(trained, tmp_path):
    (trained.parent / "receipt.json").write_text(json.dumps({"command": ["python", "<train>"], "exit_code": 0}))
    report = interpret.main([str(trained), "--out", str(tmp_path)])  # on the data that it was trained on
    text = report.read_text()
    assert {path.stem for path in tmp_path.glob("*.svg")} == {"loss", "accuracy", "calibration"}
    assert "data:image/png;base64," in text
    assert not re.search(r"<script|(?:src|href)=\"(?!data:|#)", text)
    assert "width=device-width" in text
    assert "&lt;train&gt;" not in text, "a command may name folders and secrets"
    names = re.findall(r' id="(.*?)"', text)
    assert len(names) == len(set(names)) > 3, "plots do not take each other's marks"
    for name, label in (("loss", "training loss"), ("accuracy", "accuracy"), ("calibration", "confidence")):
        drawn = text.split(f'<svg role="img" aria-label="{name}"')[1].split("</svg>")[0]
        assert label in re.findall(r"<text.*?>(.*?)</text>", drawn)
        assert "stroke: #2a6fbb" in drawn or "stroke: #d9822b" in drawn
        assert not set(re.findall(r"#[0-9a-f]{6}\b(?=;|\")", drawn)) & {"#000000", "#ffffff", "#222222"}


def test_a_report_on_other_images_is_refused(trained, photos):
    with pytest.raises(SystemExit, match="the model does not have these classes"):
        interpret.main([str(trained), "--data", str(photos)])


def test_grad_cam_is_that_of_a_published_implementation(trained, digits):
    published = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, _ = load_model(trained)
    layer = model.net[1][0]
    images, labels = digits.test.images[:4].float(), digits.test.labels[:4]
    ours = grad_cam(model, images, labels, layer)
    with published.GradCAM(model=model, target_layers=[layer]) as cam:
        theirs = torch.as_tensor(cam(images, [ClassifierOutputTarget(int(label)) for label in labels]))
    assert (ours - theirs).abs().max() < 0.02


def test_covering_what_matters_costs_more_than_covering_the_rest(trained, digits):
    model, _ = load_model(trained)
    fall = occlusion(model, digits.test.images[0], int(digits.test.labels[0]))
    assert fall.shape == (8, 8)
    assert fall.max() > fall.min()


def test_confusion_and_calibration_are_counted_right():
    labels = torch.tensor([0, 0, 1, 1])
    chances = torch.tensor([[0.95, 0.05], [0.35, 0.65], [0.05, 0.95], [0.05, 0.95]])
    said = chances.argmax(dim=1)
    assert confusion_matrix(labels, said, 2, torch.arange(2)).tolist() == [[1, 1, 0], [0, 2, 0]]
    assert [(pair.truth, pair.said, pair.count) for pair in most_confused(labels, said, ("cat", "dog"))] == [
        ("cat", "dog", 1)
    ]
    assert calibration(chances, labels)[3] == pytest.approx((3 * 0.05 + 0.65) / 4, abs=1e-6)


def test_predictions_name_each_file_its_class_and_all_chances(trained, photos, tmp_path, capsys):
    (photos / "is 0" / "broken.png").write_text("no image")
    Image.new("RGB", (50, 20), "red").save(photos / "is 0" / "red.jpg")
    shutil.copy(photos / "is 0" / "red.jpg", os.fsencode(photos) + b"/\xe9t\xe9.jpg")  # no UTF-8
    out = tmp_path / "new" / "p.csv"
    predict.main([str(trained), str(photos), "--out", str(out)])
    found = rows(out)
    assert len(found) == 38
    assert "broken.png" in capsys.readouterr().out
    assert all(abs(sum(float(row[str(label)]) for label in range(10)) - 1) < 1e-4 for row in found)
    right = [f"is {row['class']}" in row["file"] for row in found]
    assert sum(right) / len(right) > 0.85


def test_a_prediction_is_one_line_and_the_model_that_of_the_last_run(trained, photos, monkeypatch, capsys):
    monkeypatch.chdir(trained.parent)  # where it wrote outputs/
    one = str(photos / "is 2" / "3.png")
    predict.main([one])
    assert re.fullmatch(r"2 \d+\.\d%\n", capsys.readouterr().out)
    predict.main([one, str(photos / "is 0"), "--top", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 13
    assert re.fullmatch(re.escape(one) + r" +(\d \d+\.\d%(  )?){3}", lines[0])
    with pytest.raises(SystemExit, match="no images to classify"):
        predict.main([str(trained)])


def test_predictions_as_json_hold_nothing_else(trained, photos, capsys):
    (photos / "is 0" / "broken.png").write_text("no image")
    predict.main([str(trained), str(photos), "--json", "--top", "2"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "broken.png" in said.err
    assert len(found) == 36
    assert found[0]["class"] == found[0]["top"][0]["class"]
    assert found[0]["top"][0]["probability"] >= found[0]["top"][1]["probability"]


def test_images_are_also_read_from_an_address_and_from_standard_input(trained, photos, capsys, monkeypatch):
    content = (photos / "is 2" / "3.png").read_bytes()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/2.png" else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        predict.main([str(trained), f"{address}/2.png"])
        with pytest.raises(SystemExit, match=r"^jobs\.predict: error: http://[^\n]*Not Found"):
            predict.main([str(trained), f"{address}/3.png"])
        server.shutdown()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    predict.main([str(trained), "-"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("2 ")


def test_a_submission_has_the_rows_and_columns_of_the_sample(trained, photos, tmp_path):
    sample, out = tmp_path / "sample.csv", tmp_path / "out.csv"
    sample.write_text("id,label\nis 2/3,0\nis 0/1,0\nis 1/5.png,0\n")
    submit.main([str(trained), str(sample), str(photos), "--out", str(out)])
    assert [(row["id"], row["label"]) for row in rows(out)] == [("is 2/3", "2"), ("is 0/1", "0"), ("is 1/5.png", "1")]
    names = ",".join(str(label) for label in reversed(range(10)))
    sample.write_text(f"id,{names}\nis 2/3{',0' * 10}\n")
    submit.main([str(trained), str(sample), str(photos), "--out", str(out)])
    assert out.read_text().splitlines()[0] == f"id,{names}"
    assert float(rows(out)[0]["2"]) > 0.5


def test_a_submission_has_the_form_of_the_sample(trained, photos, tmp_path):
    sample, out = tmp_path / "sample.csv", tmp_path / "out.csv"
    sample.write_bytes("id;label\nis 2/3;0.0\n".encode("utf-16"))
    submit.main([str(trained), str(sample), str(photos), "--out", str(out)])
    assert out.read_text() == "id;label\nis 2/3;2.0\n"
    sample.write_text("id\tlabel\nis 2/3\t0.5\nis 0/1\t0.5\n")
    submit.main([str(trained), str(sample), str(photos), "--out", str(out), "--proba", "2"])
    first, second = (float(line.split("\t")[1]) for line in out.read_text().splitlines()[1:])
    assert first > 0.5 > second


def test_a_sample_that_does_not_fit_is_refused(trained, photos, tmp_path):
    sample = tmp_path / "sample.csv"
    for text, reason in (
        ("id,label\nis 2/99,0\n", "no image 'is 2/99'"),
        ("id,0,1,cat\nis 2/3,0,0,0\n", "differ: 2, 3"),
        ("id,label\nis 2/3,0.5\n", "of which class. --proba 9"),
        ("id,label\nis 2/3,0,7\n", "has 3 cells"),
        ("id,label\nis 2/3,0\nis 2/3,0\n", "duplicate"),
        ("id\nis 2/3\n", "header"),
    ):
        sample.write_text(text)
        with pytest.raises(DataError, match=reason):
            submit.write([trained], submit.Submission(sample, photos), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("kind", ["torchscript", "export"])
def test_an_exported_model_says_what_the_model_says(trained, tmp_path, kind):
    assert export.export(trained, kind, tmp_path / f"model{export.ENDINGS[kind]}").is_file()


def test_an_onnx_model_is_one_file_that_knows_its_classes(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export.main([str(trained), "--to", "onnx", "--out", str(tmp_path / "model.onnx")])
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == [str(label) for label in range(10)]
    assert told["input"] == "uint8 (N, 1, 8, 8), grey, 0 to 255"
    assert json.loads(told["mean"]) == pytest.approx(load_model(trained)[0].mean.flatten().tolist())
    (only,) = session.get_inputs()
    assert (only.name, only.type) == ("images", "tensor(uint8)")


def test_an_export_that_differs_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "script", lambda model, images, out: lambda batch: model(batch) + 0.1)
    with pytest.raises(CheckpointError, match="from the model's"):
        export.export(trained, "torchscript", tmp_path / "model")


def test_the_ladder_names_accuracy_time_and_size_of_each_model(tmp_path):
    words = [
        "--data",
        "digits",
        "--models",
        "majority,mean-image,linear",
        "--seeds",
        "2",
        "--budget",
        "2s",
        "--device",
        "cpu",
    ]
    rungs = compare.main([*words, "--out", str(tmp_path)])
    means = [rung.interval.value for rung in rungs]
    assert means[0] < 0.15 < 0.85 < means[1]
    assert means[2] > means[0] + 0.2
    assert rungs[2].parameters == 650
    kept = json.loads((tmp_path / "compare.json").read_text())
    assert kept[2]["model"] == "linear"
    assert kept[0]["gain"] is None
    for each in kept:
        low, high = each["interval"]
        assert 0 <= low <= each["accuracy"] <= high <= 1
    low, high = kept[1]["gain_interval"]
    assert 0.6 < low < kept[1]["gain"] < high < 1
    assert (tmp_path / "compare.png").exists()


def test_the_ladder_begins_with_a_rule_and_ends_with_what_others_learned(photos, trained, tmp_path, capsys):
    (tmp_path / "rules.py").write_text("def by_folder(path):\n    return path.parent.name\n")
    rule, weights = tmp_path / "rules.py:by_folder", trained / "model.safetensors"
    words = ["--data", photos, "--models", "rule,majority", "--rule", rule, "--pretrained", "small"]
    words += ["--weights", weights, "--budget", "1s", "--seeds", "1", "--device", "cpu"]
    rungs = compare.main([*map(str, words), "--out", str(tmp_path / "out")])
    assert [rung.model for rung in rungs] == ["by_folder", "rule", "majority", "small, last layer", "small, all layers"]
    assert rungs[0].interval.value == 1
    assert rungs[1].interval.value > 0.6 > rungs[2].interval.value
    assert rungs[3].interval.value > 0.8
    assert rungs[3].parameters < rungs[4].parameters
    (tmp_path / "rules.py").write_text("def by_folder(path):\n    return 'cat'\n")
    with pytest.raises(SystemExit, match="returned 'cat'; the classes are is 0, is 1, is 2"):
        compare.main([*map(str, words), "--out", str(tmp_path / "out")])


def test_the_programs_end_in_one_line_where_there_is_no_model(tmp_path):
    for main, words in ((predict.main, [tmp_path, __file__]), (export.main, [tmp_path]), (interpret.main, [tmp_path])):
        with pytest.raises(SystemExit, match=r"^jobs\.\w+: error: [^\n]*no model found[^\n]*$"):
            main(list(map(str, words)))


def test_what_cannot_be_written_or_submitted_is_refused_before_an_hour_of_predicting(
    trained, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("jobs.training.evaluation.predict", lambda *_: pytest.fail("predicted"))
    (tmp_path / "file").write_text("")
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\nis 2/3,0\n")
    for main, words, reason in (
        (predict.main, [trained, photos, "--out", tmp_path / "file" / "p.csv"], "cannot write there"),
        (predict.main, [trained, photos, "--out", tmp_path], "is a folder"),
        (submit.main, [trained, sample, photos, "--out", tmp_path], "is a folder"),
        (submit.main, [trained, sample, photos, "--proba", "cat", "--out", tmp_path / "s.csv"], "not a class"),
        (export.main, [trained, "--to", "torchscript", "--out", tmp_path / "file" / "m.pt"], "cannot write there"),
        (interpret.main, [trained, "--out", tmp_path / "file"], "cannot write there"),
        (perceptron.main, ["--out", tmp_path / "file"], "cannot write there"),
    ):
        with pytest.raises(SystemExit, match=f"^jobs[^\n]*{reason}[^\n]*$"):
            main(list(map(str, words)))
