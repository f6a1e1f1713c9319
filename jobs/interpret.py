"""Interpret a model: `python -m jobs.interpret outputs` writes plots and a report.html.

With an image, `python -m jobs.interpret outputs photo.jpg`, it explains what the model makes of that image.
"""

from collections.abc import Sequence
from pathlib import Path

from .config.data import DataConfig
from .config.recipe import add_options, pick
from .program import Parser, check_folder, keep_memory, run_program, say


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the report; user errors print one line and exit with status 1 or 2."""
    parser = Parser("jobs.interpret", description="Report what a model has learned and what it gets wrong.")
    parser.add_argument("checkpoint", type=Path, help="model file or run folder")
    parser.add_argument(
        "photo", type=Path, nargs="?", metavar="PHOTO", help="explain this image instead of all test images"
    )
    add_options(parser, DataConfig())
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: report/ next to the model)")
    asked = parser.parse_args(argv)
    keep_memory()
    config = pick(DataConfig, vars(asked))
    if asked.photo:
        return run_program("jobs.interpret", lambda: explain_photo(asked.checkpoint, asked.photo, config, asked.out))
    return run_program("jobs.interpret", lambda: run(asked.checkpoint, config, asked.out))


def run(checkpoint: Path, config: DataConfig, out: Path | None) -> Path:
    """Draw everything; return the report. Raises DataError if the images do not fit the model."""
    # torch and matplotlib take a second to import, and --help must start at once.
    from .explain.depths import show_depths
    from .look import card, provenance, sections
    from .look.mistakes import majority_baseline
    from .look.names import isolate
    from .look.report import write_report
    from .models.modelfile import find_model, load_model
    from .models.tested import load_tested, need_classes
    from .training.evaluation import predict

    model, facts = load_model(checkpoint)
    need_classes(facts, "jobs.interpret")
    path = find_model(checkpoint)
    out = out or path.parent / "report"
    check_folder(out)
    data = load_tested(checkpoint, facts, config)
    chances = predict(model, data.test)
    accuracy = (chances.argmax(dim=1) == data.test.labels).float().mean().item()
    most, baseline = majority_baseline(data.train.labels, data.test.labels)
    right, counts = int((chances.argmax(dim=1) == data.test.labels).sum()), (len(data.train), len(data.test))
    guess = f"{baseline:.1%}, always predicting {isolate(data.classes[most])}"
    kept = provenance.read_json(path.parent / "args.json")
    shown = [
        card.show_card(facts, data.name, right, counts, guess, kept),
        provenance.show_provenance(path, data.name),
        *sections.show_curves(path, out),
        *sections.show_mistakes(data, chances, out),
        *sections.show_layers(model, data),
        *filter(None, [show_depths(model, data.test)]),
        sections.show_network(model, data.test.shape),
        *provenance.show_settings(path),
    ]
    lead = (
        f"accuracy on {len(data.test):,} test images of {isolate(data.name)}, {len(data.classes):,} classes; "
        f"baseline, always predicting {isolate(data.classes[most])}: {baseline:.1%}"
    )
    write_report(out / "report.html", f"{facts.model} on {facts.data}", accuracy, lead, shown)
    say(f"{accuracy:.1%} {lead}\n{out / 'report.html'}")
    return out / "report.html"


def explain_photo(checkpoint: Path, photo: Path, config: DataConfig, out: Path | None) -> Path:
    """Explain what a model makes of one image; return the page. Raises DataError if the image is broken.

    Without the data of its run the page has all but the nearest training images.
    """
    from .errors import DataError
    from .explain import photo as explanation
    from .images.decoding import BrokenImageError
    from .look.report import write_report
    from .models.modelfile import find_model, load_model
    from .models.tested import load_tested, need_classes

    model, facts = load_model(checkpoint)
    need_classes(facts, "jobs.interpret")
    folder = find_model(checkpoint).parent
    out = out or folder / "report"
    check_folder(out)
    try:
        answer = explanation.ask(model, facts, photo)
    except BrokenImageError as error:
        raise DataError(str(error)) from error
    data = None
    try:
        data = load_tested(checkpoint, facts, config)
    except DataError as error:
        say(f"no nearest training images: {error}")
    page = out / f"{photo.stem}.html"
    lead = f"what {facts.model}, trained on {Path(facts.data).name}, makes of {photo.name}"
    write_report(page, photo.name, answer.said, lead, explanation.explain(model, answer, data))
    say(f"{photo.name}: {answer.said}\n{page}")
    return page


if __name__ == "__main__":
    main()
