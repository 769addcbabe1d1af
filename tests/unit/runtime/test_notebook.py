"""What a notebook shows while something runs, and of a mistake: through IPython itself."""

import os

import pytest

from noisystudent.runtime.notebook import NotebookBlock, in_notebook
from noisystudent.runtime.progress import Reporter

interactive = pytest.importorskip("IPython.core.interactiveshell")
publishing = pytest.importorskip("IPython.core.displaypub")
Config = pytest.importorskip("traitlets.config").Config


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """IPython's shell, which keeps what it would display; it passes for the kernel of a notebook."""
    before = os.environ.get("IPYTHONDIR")
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))
    shell = interactive.InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.display_pub = publishing.CapturingDisplayPublisher()
    shell.kernel = object()
    yield shell
    interactive.InteractiveShell.clear_instance()
    os.environ.pop("IPYTHONDIR")
    if before:
        os.environ["IPYTHONDIR"] = before


@pytest.fixture
def outputs(shell):
    """What is displayed and updated, in order."""
    shell.display_pub.outputs.clear()
    return shell.display_pub.outputs


@pytest.mark.usefixtures("shell")
def test_a_kernel_is_a_notebook_and_a_plain_process_is_none(shell, monkeypatch):
    assert in_notebook()
    monkeypatch.setattr(shell, "kernel", None)
    assert not in_notebook()


def test_a_whole_run_is_one_block_that_updates(outputs, capsys):
    reporter = Reporter()
    reporter.say("labeled: 40 images from <b>photos</b>")
    reporter.expect({"teacher": 100, "round-1/student": 100})
    with reporter.bar("teacher", 40, "steps") as bar:
        bar.advance(20, {"loss": 0.5})
    reporter.say("round 1: 93.4% right")
    assert len({output["transient"]["display_id"] for output in outputs}) == 1
    assert [output.get("update", False) for output in outputs] == [False] + [True] * (len(outputs) - 1)
    last = outputs[-1]["data"]
    assert "&lt;b&gt;photos" in last["text/html"]
    assert "<b>" not in last["text/html"]
    assert "<progress" not in last["text/html"]
    assert [line.split(":")[0] for line in last["text/plain"].splitlines()] == ["labeled", "[1/2] teacher", "round 1"]
    assert any('<progress value="0.0000"' in output["data"]["text/html"] for output in outputs)
    assert capsys.readouterr() == ("", "")


def test_a_bar_moves_with_its_stage(outputs):
    block = NotebookBlock()
    reporter = Reporter()
    with reporter.bar("teacher", 40, "steps") as bar:
        bar.advance(10, {"loss": 0.5})
        outputs.clear()
        block.show(bar, bar._start + 10)
    assert '<progress value="0.2500"' in outputs[0]["data"]["text/html"]
    assert outputs[0]["data"]["text/plain"] == "teacher  10/40  0:30 left  1 steps/s  loss 0.5"


def test_a_quiet_reporter_displays_nothing(outputs):
    reporter = Reporter(quiet=True)
    reporter.say("nothing")
    with reporter.bar("teacher", 40, "steps") as bar:
        bar.advance(10)
    assert not outputs


def test_a_mistake_is_one_line_and_another_error_a_traceback(shell, capsys):
    shell.run_cell("import noisystudent; noisystudent.select(predictions='a', out='b', settings={'train.stpes': 3})")
    shown = "".join(capsys.readouterr())
    assert shown.strip().startswith("SettingsError: unknown setting 'train.stpes'")
    assert "Did you mean 'train.steps'?" in shown
    assert len(shown) < 300
    shell.run_cell("1 / 0")
    assert "Traceback" in "".join(capsys.readouterr())
