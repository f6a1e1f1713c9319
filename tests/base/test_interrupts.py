"""Ctrl-C during a clean-up: it is answered and stops nothing; afterwards it works as before."""

import signal

import pytest

from infra.base.interrupts import STOPS, hold_interrupts, interrupt_on_stop


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("stop", STOPS)
def test_a_second_ctrl_c_is_answered_and_stops_no_clean_up(stop):
    interrupt_on_stop()
    said = []
    with hold_interrupts(lambda: said.append("still removing")):
        for _ in range(2):
            signal.raise_signal(stop)
        said.append("done")
    assert said == ["still removing", "still removing", "done"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(stop)


def test_an_answer_that_cannot_be_printed_now_stops_no_clean_up():
    def fail() -> None:
        raise RuntimeError("reentrant call")

    with hold_interrupts(fail):
        signal.raise_signal(signal.SIGINT)
