"""Training listens to SIGTERM and Ctrl-C only while it lasts: whoever calls it gets the signals back."""

import signal
from collections.abc import Callable, Iterator

import pytest
from conftest import settings

from jobs.errors import TrainingError
from jobs.train import run
from jobs.training.checkpoint import Checkpoints
from jobs.training.stop import listening

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def own() -> Iterator[Callable[..., None]]:
    """A handler that the caller of the training, a notebook say, has set for both signals."""

    def note(*_: object) -> None:
        pytest.fail("the signal was meant for the training")

    previous = {number: signal.signal(number, note) for number in SIGNALS}
    yield note
    for number, handler in previous.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_training_restores_the_handlers(tmp_path, few_files, own, monkeypatch):
    during: list[object] = []
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *given: during.extend(handlers()) or save(*given))
    run(settings(tmp_path, data=few_files, epochs=1))
    assert during
    assert own not in during
    assert handlers() == [own, own]


def test_training_that_fails_restores_the_handlers(tmp_path, few_files, own):
    with pytest.raises(TrainingError):
        run(settings(tmp_path, data=few_files, lr=None))
    assert handlers() == [own, own]


@pytest.mark.parametrize("number", SIGNALS)
def test_training_that_was_stopped_restores_the_handlers(tmp_path, few_files, own, monkeypatch, number):
    monkeypatch.setattr("jobs.training.fit.prepare_batch", stop_at_the_first_step(number))
    with pytest.raises(SystemExit) as end:
        run(settings(tmp_path, data=few_files))
    assert end.value.code == 128 + number
    assert handlers() == [own, own]


def stop_at_the_first_step(number: int) -> Callable[..., object]:
    def prepare(images: object, labels: object, *_: object) -> object:
        signal.raise_signal(number)
        return images, labels

    return prepare


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_is_noted_and_a_second_one_ends_the_process(own, number):
    with listening() as stop:
        assert stop.asked == 0
        signal.raise_signal(number)
        assert stop.asked == number
        assert signal.getsignal(number) == signal.SIG_DFL
