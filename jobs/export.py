"""Export a model, verified against the original: `python -m jobs.export outputs --to onnx`.

With `--demo` it becomes a page that runs it in a browser, on pictures that one drops there.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config.data import MULTI, REGRESSION, SINGLE
from .errors import CheckpointError
from .program import Parser, check_file, run_program, say

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .models import Classifier
    from .models.modelfile import Facts

ENDINGS = {"torchscript": ".pt", "export": ".pt2", "onnx": ".onnx"}
DEMO = "demo.html"
TOLERANCE = 1e-4
"""Maximum deviation of an output from the original's, relative to the largest."""
OUTPUTS = {
    SINGLE: "logits (N, classes); softmax makes them probabilities",
    MULTI: "probabilities (N, labels), each for itself; sigmoid is done inside",
    REGRESSION: "values (N, 1), in the unit of the data",
}


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the file; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.export", description="Export a model to another format and verify it against the original.")
    parser.add_argument("checkpoint", type=Path, help="model file or run folder")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--to", choices=ENDINGS, default="export", help="the format (%(default)s)")
    formats.add_argument("--demo", action="store_true", help="write one HTML page that runs the model in a browser")
    parser.add_argument(
        "--out", type=Path, help=f"output file (default: model.pt, model.pt2, model.onnx or {DEMO} next to the model)"
    )
    asked = parser.parse_args(argv)
    if asked.demo:
        return run_program("jobs.export", lambda: export_demo(asked.checkpoint, asked.out))
    return run_program("jobs.export", lambda: export(asked.checkpoint, asked.to, asked.out))


def export(checkpoint: Path, kind: str, out: Path | None) -> Path:
    """Write the model and verify it. Raises CheckpointError if it differs or a package is missing."""
    from .models.modelfile import find_model, load_model

    model, facts = load_model(checkpoint)
    out = out or find_model(checkpoint).with_suffix(ENDINGS[kind])
    check_file(out)
    off = convert(model, facts, kind, out)
    say(f"verified: {facts.task.output} match the model's within {off:.1e}\n{out}")
    return out


def export_demo(checkpoint: Path, out: Path | None) -> Path:
    """Write a page that runs the model. Raises CheckpointError, DataError without onnxruntime-web."""
    from .demo.page import write_page
    from .demo.runtime import find_runtime
    from .models.modelfile import find_model, load_model
    from .models.tested import need_classes

    model, facts = load_model(checkpoint)
    need_classes(facts, "jobs.export --demo")
    if facts.shape[1] != facts.shape[2]:
        raise CheckpointError(
            f"{checkpoint}: --demo needs square images; these have {facts.shape[2]} x {facts.shape[1]} pixels"
        )
    out = out or find_model(checkpoint).with_name(DEMO)
    check_file(out)
    runtime = find_runtime()
    with tempfile.TemporaryDirectory(prefix="jobs-demo-") as folder:
        kept = Path(folder) / "model.onnx"
        off = convert(model, facts, "onnx", kept)
        write_page(out, facts, kept.read_bytes(), runtime)
    say(
        f"verified: logits match the model's within {off:.1e}\n{out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser"
    )
    return out


def convert(classifier: "Classifier", facts: "Facts", kind: str, out: Path) -> float:
    """Write the model; return its relative deviation. Raises CheckpointError if that is too large."""
    import torch

    from .models.classifier import Answering

    model = classifier if facts.task.name == SINGLE else Answering(classifier).eval()
    images = torch.randint(256, (4, *facts.shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    returned = facts.task.output
    writers: dict[str, Callable[..., Callable[[Tensor], Any]]]
    writers = {"torchscript": script, "export": exported, "onnx": partial(onnx, returned)}
    ask = writers[kind](model, images, out)
    with torch.no_grad():
        for batch in (images, images[:3]):  # also with a different batch size than it was exported with
            wanted, found = model(batch), torch.as_tensor(ask(batch))
            off = ((wanted - found).abs().max() / wanted.abs().max()).item()
            if not off <= TOLERANCE:
                raise CheckpointError(
                    f"{out}: its {returned} differ from the model's by {off:.1e}, more than {TOLERANCE:g}"
                )
    if kind == "onnx":
        describe_onnx(out, facts, classifier)
    return float(off)


def script(model: "nn.Module", images: "Tensor", out: Path) -> "Callable[[Tensor], Any]":
    """Write TorchScript."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, images).save(str(out))
        loaded: Callable[[Tensor], Any] = torch.jit.load(str(out))
    return loaded


def exported(model: "nn.Module", images: "Tensor", out: Path) -> "Callable[[Tensor], Any]":
    """Write torch.export's format, for any batch size."""
    import torch

    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, out)
    loaded: Callable[[Tensor], Any] = torch.export.load(out).module()
    return loaded


def onnx(returned: str, model: "nn.Module", images: "Tensor", out: Path) -> "Callable[[Tensor], Any]":
    """Write ONNX as one file, for any batch size, its output called `returned`.

    Raises CheckpointError if packages are missing.
    """
    import torch

    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise CheckpointError("ONNX export needs packages: pip install onnx onnxscript onnxruntime") from error
    names: dict[str, Any] = {"input_names": ["images"], "output_names": [returned]}
    axes = ({0: torch.export.Dim.DYNAMIC},)
    # By default large weights go to a second file, without which the first is of no use.
    torch.onnx.export(
        model, (images,), out, dynamic_shapes=axes, dynamo=True, external_data=False, verbose=False, **names
    )
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"images": batch.numpy()})[0]


def describe_onnx(out: Path, facts: "Facts", model: "Classifier") -> None:
    """Add classes, form of the input and normalization to an ONNX file. Raises CheckpointError.

    What torch notes about each operation is removed: it names files of this computer.
    """
    import onnx
    import onnxruntime

    channels, height, width = facts.shape
    wanted = {
        "classes": json.dumps(facts.classes, ensure_ascii=False),
        "input": f"uint8 (N, {channels}, {height}, {width}), {'RGB' if channels == 3 else 'grey'}, 0 to 255",
        "task": facts.task.name,
        "output": OUTPUTS[facts.task.name],
        "mean": json.dumps(model.mean.flatten().tolist()),
        "std": json.dumps(model.std.flatten().tolist()),
        "normalization": "(images - mean) / std, done inside",
        "resize": facts.resize,
        "levels": json.dumps(facts.levels),
        "data": Path(facts.data).name,
    }
    kept = onnx.load(out)
    for each in (kept.graph, *kept.graph.node, *kept.graph.value_info, *kept.graph.input, *kept.graph.output):
        del each.metadata_props[:]
    for key, value in wanted.items():
        entry = kept.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(kept, out)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    if session.get_modelmeta().custom_metadata_map != wanted:
        raise CheckpointError(f"{out}: its classes and normalization could not be read back")


if __name__ == "__main__":
    main()
