"""What is done with a trained model: looking inside, predicting, submitting, exporting, comparing."""

import csv
import json
import os
import re
import shutil
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
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {"loss", "accuracy", "calibration"}
    assert text.count("data:image/png;base64,") > len(drawn)
    assert not re.search(r"<script|(?:src|href)=\"(?!data:)", text)
    assert "width=device-width" in text
    assert "&lt;train&gt;" not in text, "a command may name folders and secrets"
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors(256) or [0] * 256) > 8, path.name  # something is drawn


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
    found = rows(predict.main([str(trained), str(photos), "--out", str(tmp_path / "new" / "p.csv")]))
    assert len(found) == 38
    assert "broken.png" in capsys.readouterr().out
    assert all(abs(sum(float(row[str(label)]) for label in range(10)) - 1) < 1e-4 for row in found)
    right = [f"is {row['class']}" in row["file"] for row in found]
    assert sum(right) / len(right) > 0.85


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
            submit.write(trained, submit.Submission(sample, photos), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("kind", ["torchscript", "export", "onnx"])
def test_an_exported_model_says_what_the_model_says(trained, tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    assert export.export(trained, kind, tmp_path / f"model{export.ENDINGS[kind]}").is_file()


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
    means = [sum(rung.accuracies) / len(rung.accuracies) for rung in rungs]
    assert means[0] < 0.15 < 0.85 < means[1]
    assert means[2] > means[0] + 0.2
    assert rungs[2].parameters == 650
    assert json.loads((tmp_path / "compare.json").read_text())[2]["model"] == "linear"
    assert (tmp_path / "compare.png").exists()


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
