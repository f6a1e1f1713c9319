"""Interpret a model: `python -m jobs.interpret outputs` writes plots and a report.html.

With an image, `python -m jobs.interpret outputs photo.jpg`, it explains what the model makes of that image.
"""

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
    from .data import load
    from .data.parts import drop_trained
    from .explain.depths import show_depths
    from .look import card, provenance, sections
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
    from .data import load
    from .errors import DataError
    from .explain import photo as explanation
    from .images.decoding import BrokenImageError
    from .look.report import write_report
    from .models.modelfile import find_model, load_model

    model, facts = load_model(checkpoint)
    folder = find_model(checkpoint).parent
    out = out or folder / "report"
    check_folder(out)
    try:
        answer = explanation.ask(model, facts, photo)
    except BrokenImageError as error:
        raise DataError(str(error)) from error
    config, data = recall(config, folder / "args.json"), None
    size = facts.shape[1] if facts.shape[1] == facts.shape[2] else 0
    try:
        data = load(
            replace(config, seed=facts.seed, size=size, range=config.range or facts.levels), classes=facts.classes
        )
    except DataError as error:
        say(f"no nearest training images: {error}")
    page = out / f"{photo.stem}.html"
    lead = f"what {facts.model}, trained on {Path(facts.data).name}, makes of {photo.name}"
    write_report(page, photo.name, answer.said, lead, explanation.explain(model, answer, data))
    say(f"{photo.name}: {answer.said}\n{page}")
    return page


if __name__ == "__main__":
    main()
