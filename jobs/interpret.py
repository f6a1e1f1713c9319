"""Interpret a model: `python -m jobs.interpret outputs` writes plots and a report.html."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .config.data import DataConfig, recall
from .config.recipe import add_options, pick
from .errors import DataError
from .program import Parser, check_folder, keep_memory, run_program, say


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the report; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.interpret", description="Report what a model has learned and what it gets wrong.")
    parser.add_argument("checkpoint", type=Path, help="model file or run folder")
    add_options(parser, DataConfig())
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: report/ next to the model)")
    asked = parser.parse_args(argv)
    keep_memory()
    return run_program("jobs.interpret", lambda: run(asked.checkpoint, pick(DataConfig, vars(asked)), asked.out))


def run(checkpoint: Path, config: DataConfig, out: Path | None) -> Path:
    """Draw everything; return the report. Raises DataError if the images do not fit the model."""
    # torch and matplotlib take a second to import, and --help must start at once.
    from .data import load
    from .data.parts import drop_trained
    from .look import provenance, sections
    from .look.mistakes import majority_baseline
    from .look.names import isolate
    from .look.report import write_report
    from .models.modelfile import find_model, load_model
    from .training.evaluation import predict

    model, facts = load_model(checkpoint)
    path = find_model(checkpoint)
    out = out or path.parent / "report"
    check_folder(out)
    config = recall(config, path.parent / "args.json")
    size = facts.shape[1] if facts.shape[1] == facts.shape[2] else 0
    data = load(replace(config, seed=facts.seed, size=size, range=config.range or facts.levels), classes=facts.classes)
    data = drop_trained(data, path.parent)
    if data.test.shape[0] != facts.shape[0]:
        raise DataError(f"the model needs {facts.shape[0]} channels, {data.name} has {data.test.shape[0]}")
    chances = predict(model, data.test)
    accuracy = (chances.argmax(dim=1) == data.test.labels).float().mean().item()
    most, baseline = majority_baseline(data.train.labels, data.test.labels)
    shown = [
        provenance.show_provenance(path, data.name),
        *sections.show_curves(path, out),
        *sections.show_mistakes(data, chances, out),
        *sections.show_layers(model, data),
        sections.show_network(model),
        *provenance.show_settings(path),
    ]
    lead = (
        f"accuracy on {len(data.test):,} test images of {isolate(data.name)}, {len(data.classes):,} classes; "
        f"baseline, always predicting {isolate(data.classes[most])}: {baseline:.1%}"
    )
    write_report(out / "report.html", f"{facts.model} on {facts.data}", accuracy, lead, shown)
    say(f"{accuracy:.1%} {lead}\n{out / 'report.html'}")
    return out / "report.html"


if __name__ == "__main__":
    main()
