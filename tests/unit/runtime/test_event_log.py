"""Scalars for TensorBoard, read back by TensorBoard's own reader."""

import pytest

from noisystudent.errors import SettingsError
from noisystudent.runtime.event_log import EventLog, require_event_log
from noisystudent.runtime.progress import Reporter

reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="extra tensorboard")


def scalars(folder):
    """The values of every scalar by name and step, as TensorBoard shows them."""
    events = reading.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("quiet", [True, False])
def test_the_numbers_of_a_bar_become_scalars_of_its_stage(quiet, tmp_path):
    reporter = Reporter(quiet=quiet)
    reporter.log_to(EventLog(tmp_path))
    with reporter.bar("round-1/student", 60, "steps") as bar:
        for step in range(1, 61):
            bar.advance(1, {"loss": 60 / step, "learning_rate": 0.1} if step % 20 == 0 else None)
    with reporter.bar("round-1/predictions", 60, "images") as bar:
        bar.advance(60)
    found = scalars(tmp_path / "round-1" / "student")
    assert found == {"loss": [(20, 3.0), (40, 1.5), (60, 1.0)], "learning_rate": [(step, 0.1) for step in (20, 40, 60)]}
    assert [path.name for path in (tmp_path / "round-1").iterdir()] == ["student"]


def test_a_resumed_stage_replaces_what_was_logged_after_its_last_saved_state(tmp_path):
    for first, steps, loss in ((0, (20, 40, 60), 1.0), (40, (60, 80), 2.0)):
        reporter = Reporter(quiet=True)
        reporter.log_to(EventLog(tmp_path))
        with reporter.bar("teacher", 80, "steps") as bar:
            bar.start_at(first)
            for step in steps:
                bar.advance(step - bar.done, {"loss": loss})
    assert scalars(tmp_path / "teacher")["loss"] == [(20, 1.0), (40, 1.0), (60, 2.0), (80, 2.0)]


def test_the_rounds_are_one_line_that_a_later_session_tells_again(tmp_path):
    for rounds in (1, 2):
        log = EventLog(tmp_path)
        for number in range(rounds + 1):
            log.add_round(number, {"test_top1": 0.5 + number / 10})
    assert scalars(tmp_path / "rounds") == {"test_top1": [(0, 0.5), (1, 0.6), (2, 0.7)]}


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("noisystudent.runtime.event_log.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'noisystudent\[tensorboard\]', or leave out runtime.log"):
        require_event_log()
