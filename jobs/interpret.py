"""Interpret a model: `python -m jobs.interpret outputs` writes plots and a report.html."""

from collections.abc import Sequence
from pathlib import Path

from .config.data import DataConfig
from .config.recipe import add_options, pick
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
    from .look import provenance, sections
    from .look.mistakes import majority_baseline
    from .look.names import isolate
    from .look.report import write_report
    from .look.tested import load_tested
    from .models.modelfile import find_model, load_model
    from .training.evaluation import predict

    model, facts = load_model(checkpoint)
    path = find_model(checkpoint)
    out = out or path.parent / "report"
    check_folder(out)
    data = load_tested(checkpoint, facts, config)
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
