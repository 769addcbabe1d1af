"""The page of a run that goes on, and the server that shows it to this machine alone."""

import http.client
import json
import os
import socket
import threading

import pytest

from noisystudent.commands.main import main
from noisystudent.errors import ArtifactError, SettingsError
from noisystudent.reporting.live import QUIET, is_finished, live_page, live_stages
from noisystudent.reporting.page_server import PageServer

STAGES = ["teacher", "scores/teacher", "round-1/predictions", "round-1/selection", "round-1/student", "scores/round-1"]


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def run(tmp_path):
    """A run in its first round: the teacher is done, the student at step 40 of 60."""
    folder = tmp_path / "run"
    sources = {"labeled": {"name": "<b>photos</b>", "images": 1234}, "test": None}
    write(folder, "run.json", {"stages": STAGES, "sources": sources})
    for stage in STAGES[:4]:
        write(folder, f"{stage}/inputs.json", {"train": {"steps": 60}})
        write(folder, f"{stage}/manifest.json", {})
    write(folder, "scores/teacher/scores.json", {"test": {"top1": 0.875}})
    write(folder, "round-1/student/inputs.json", {"train": {"steps": 60}})
    rows = "".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (20, 40))
    write(folder, "round-1/student/metrics.jsonl", rows + '{"step": 60, "lo')
    write(folder, "round-1/student.0123456789ab/inputs.json", {"train": {"steps": 7}})
    write(folder, "best/inputs.json", {})
    return folder


def test_the_stages_are_those_that_the_run_expects_in_their_order(run):
    write(run, "trial/inputs.json", {"x": 1})
    stages = live_stages(run, STAGES)
    assert [stage.name for stage in stages] == [*STAGES, "trial"]
    assert [stage.state for stage in stages] == ["done"] * 4 + ["begun", "to do", "begun"]
    student = stages[4]
    assert (student.done, student.total, student.loss) == (40, 60, 1 / 40)


def test_the_student_that_learns_online_has_its_accuracy(run):
    write(run, "scores/online/scores.json", {"test": {"top1": 0.9125}})
    page = live_page(run, (run / "run.json").stat().st_mtime)
    assert "91.2%" in page
    assert ">online<" in page


def test_the_page_says_how_far_the_run_is_and_escapes_names(run):
    page = live_page(run, (run / "run.json").stat().st_mtime)
    assert "4 of 6 stages are done" in page
    assert "step 40 of 60" in page
    assert "87.5%" in page
    assert "&lt;b&gt;photos&lt;/b&gt;" in page
    assert "<b>photos" not in page
    assert 'http-equiv="refresh"' in page
    assert "Nothing has changed" not in page
    assert "Nothing has changed" in live_page(run, (run / "run.json").stat().st_mtime + QUIET + 60)


@pytest.mark.parametrize("content", ["{", "[1]", '{"stages": 3, "sources": [1]}', "\x00"])
def test_a_page_is_there_before_the_first_stage_and_for_damaged_files(content, tmp_path):
    write(tmp_path, "run.json", content)
    assert "has not begun a stage yet" in live_page(tmp_path, 0.0)
    write(tmp_path, "teacher/inputs.json", content)
    write(tmp_path, "teacher/metrics.jsonl", content)
    write(tmp_path, "scores/teacher/scores.json", content)
    (tmp_path / "scores/round-1").mkdir()
    assert "teacher" in live_page(tmp_path, 0.0)


def test_a_run_of_someone_else_leads_nowhere_and_breaks_nothing(run):
    write(run.parent, "elsewhere/inputs.json", {"train": {"steps": 1}})
    write(run, "run.json", {"stages": ["../elsewhere", "/etc", "a//b", "round-1/student", "a\0b", 3]})
    write(run, "round-1/student/metrics.jsonl", '{"step": 20, "loss": NaN}\n{"step": 1e400, "loss": 1}\n{"step": 40}\n')
    write(run, "scores/teacher/scores.json", '{"test": {"top1": Infinity}}')
    page = live_page(run, 0.0)
    assert "elsewhere" not in page
    assert "/etc" not in page
    assert "round-1/student" in page


def test_a_run_is_finished_once_its_summary_is_newer_than_its_facts(run):
    assert not is_finished(run)
    write(run, "report.html", "the page")
    write(run, "summary.json", "{}")
    assert is_finished(run)
    later = (run / "summary.json").stat().st_mtime + 10
    os.utime(run / "run.json", (later, later))  # the run was started again
    assert not is_finished(run)


@pytest.fixture
def ask(run):
    """Asks a server of the run for a path; returns status, headers and body."""
    with PageServer(run) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def asked(path, method="GET", host=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
            connection.endheaders()
            answer = connection.getresponse()
            found = answer.status, dict(answer.getheaders()), answer.read()
            connection.close()
            return found

        yield asked
        server.shutdown()
        thread.join()


def test_the_server_shows_the_run_until_its_end_and_its_page_afterwards(run, ask):
    status, headers, body = ask("/")
    assert status == 200
    assert b"goes on" in body
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    write(run, "report.html", "the page of the run")
    write(run, "summary.json", "{}")
    assert ask("/")[2] == b"the page of the run"
    assert ask("/", "HEAD")[1]["Content-Length"] == "19"
    assert ask("/", "HEAD")[2] == b""


def test_every_answer_has_the_headers_that_keep_others_out(ask):
    for path in ("/", "/gone"):
        _, headers, _ = ask(path)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"].strip() == "noisystudent"


@pytest.mark.parametrize(
    "path",
    [
        "/run.json",
        "/teacher/inputs.json",
        "/../secret.csv",
        "/..%2fsecret.csv",
        "//etc/passwd",
        "/label_issues.csv/../run.json",
        "/label_next.csv",
        "/confusion.png",
        "/favicon.ico",
        "/./results.png",
        "http://127.0.0.1/etc/passwd",
    ],
)
def test_nothing_but_the_files_of_the_page_is_served(path, run, ask):
    write(run.parent, "secret.csv", "secret")
    (run / "label_next.csv").symlink_to(run.parent / "secret.csv")
    (run / "confusion.png").mkdir()
    write(run, "results.png", "png")
    assert ask(path)[0] == 404
    assert ask("/results.png")[::2] == (200, b"png")
    assert ask("/results.png?fresh")[0] == 200


def test_names_of_other_hosts_and_other_methods_are_refused(ask):
    assert ask("/", host="rebound.example")[0] == 403
    assert ask("/", host="127.0.0.1")[0] == 403
    assert ask("/", "POST")[0] == 501
    assert ask("/", "PUT")[0] == 501


def test_the_port_is_open_on_the_loopback_address_alone(run):
    with PageServer(run) as server:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(SettingsError, match=f"--port {server.server_port} cannot be used .*Give another"):
            PageServer(run, server.server_port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_named(run, port):
    with pytest.raises(SettingsError, match=f"--port is {port}"):
        PageServer(run, port)


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    with pytest.raises(ArtifactError, match="is no folder of a run"):
        PageServer(tmp_path)
    assert main(["watch", str(tmp_path / "gone")]) == 1
    assert "gone is no folder of a run" in capsys.readouterr().err


def test_the_command_says_the_address_and_ends_with_ctrl_c(run, monkeypatch, capsys):
    def interrupted(server, poll_interval=0.5):
        with socket.create_connection(server.server_address, timeout=10):
            raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    assert main(["watch", str(run)]) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out
