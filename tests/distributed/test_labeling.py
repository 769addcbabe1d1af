"""Evaluating and predicting under torchrun: every image once, the bytes of one process; other commands refuse it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import noisystudent
from fork_server import ForkServer
from labeling_set import save_folder, save_teacher
from noisystudent.commands.main import COMMANDS, SHARED, main
from noisystudent.errors import DataError
from noisystudent.evaluation import map_shards as mapping
from noisystudent.models.load_predictor import load
from noisystudent.runtime.process_group import SINGLE

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
PROGRAM = Path(__file__).parents[1] / "helpers" / "answering_together.py"
BROKEN = {"0": 3, "1": 399}  # the number of an image of the class that cannot be read
LABELED = {"0": 500, "1": 400, "2": 100}  # one shard: fewer than processes
UNLABELED = 2 * 1024 + 52  # three shards
APART = 2 * 1024 + 7


@pytest.fixture(scope="module")
def given(fork_server, tmp_path_factory):
    """A teacher, labeled and unlabeled images, some unreadable, and what one process prints and writes."""
    root = tmp_path_factory.mktemp("given")
    for name, count in LABELED.items():
        save_folder(root / "labeled" / name, count, {BROKEN[name]: b"GIF"} if name in BROKEN else {})
    save_folder(root / "unlabeled", UNLABELED, {0: b"", 1023: b"\xff\xd8 no jpeg", 1024: b"GIF", UNLABELED - 1: b""})
    words = [root / "teacher", root / "labeled", root / "unlabeled", root / "apart.npz"]
    save_teacher(words[0], channels=3)
    save_apart(words[3], words[0])
    return words, answers(fork_server, words, root / "alone", processes=1)


def save_apart(path: Path, teacher: Path) -> None:
    """Images in three shards, every other one labeled as the teacher would, so that a temperature can be found."""
    random = np.random.default_rng(100)
    images = random.integers(0, 256, (APART, 8, 8, 3), dtype=np.uint8)
    labels = random.integers(0, 3, APART)
    np.savez(path, x=images)
    labels[::2] = load(teacher).log_probabilities(path).argmax(axis=1)[::2]
    np.savez(path, x=images, y=labels)


def answers(
    fork_server: ForkServer, words: list[Path], out: Path, *, processes: int
) -> tuple[list[str], list[str], list[bytes]]:
    """The printed lines, the remarks on unreadable images, and the files, byte for byte; two run under torchrun."""
    out.mkdir()
    if processes == 2:
        command = [*TORCHRUN, PROGRAM, *words, out]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        output, errors = finished.stdout, finished.stderr
    else:
        command = fork_server.run([*words, out], processes=processes, program=PROGRAM)
        output, errors = command.output(), command.errors()
    printed = output.replace(str(out), "").splitlines()
    remarks = [line for line in errors.splitlines() if "unreadable" in line]
    files = [(out / name).read_bytes() for name in ("scores.json", "answers.csv", "calibrated.json")]
    return printed, remarks, files


def test_one_process_counts_every_image_once(given):
    _, (printed, remarks, (scores, table, calibrated)) = given
    scaled = json.loads(calibrated).pop("temperature_scaling")
    assert (scaled["count"], scaled["left_out"], scaled["at_end"]) == (APART, 0, False)
    counts = json.loads(scores)
    assert counts["count"] == sum(LABELED.values()) - len(BROKEN)
    assert [sum(row) for row in counts["confusion"]] == [499, 399, 100]
    start = printed.index("count  998") + 1
    notes, predicted = printed[start : start + len(BROKEN)], printed[start + len(BROKEN) :]
    assert predicted[-1].endswith("/answers.csv")
    assert f"{UNLABELED - len(remarks):,} images, {len(remarks)} unreadable" in predicted
    assert all(note.startswith("  note: left out, since it could not be read: ") for note in notes)
    assert counts["unreadable"].keys() == {note.split(": ")[2].split(" (")[0] for note in notes}
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert sorted(row["file"] for row in rows) == [f"{number:05d}.png" for number in range(UNLABELED)]
    assert [row["file"] for row in rows if not row["class"]] == [line.split(": ")[1] for line in remarks]
    assert len(remarks) == 4


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_print_and_write_what_one_does(fork_server, given, tmp_path, count):
    words, alone = given
    assert answers(fork_server, words, tmp_path / "together", processes=count) == alone


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_too_many_unreadable_images_end_it_at_once_and_leave_no_table(given, tmp_path, monkeypatch, command):
    words, _ = given
    save_folder(tmp_path / "unlabeled" / "0", 1500, dict.fromkeys(range(90), b""))
    for name in ("1", "2"):
        save_folder(tmp_path / "unlabeled" / name, 1, {})
    shards: list[int] = []
    original = mapping.decode_shard
    monkeypatch.setattr(mapping, "decode_shard", lambda *arguments: shards.append(arguments[1]) or original(*arguments))
    with pytest.raises(DataError, match="At least 90 of the 1,502 images"):
        getattr(noisystudent, command)(checkpoint=words[0], source=tmp_path / "unlabeled", out=tmp_path / "out.csv")
    assert shards == [0]
    assert not list(tmp_path.glob("*out*"))


def test_shards_are_computed_one_at_a_time_as_their_results_are_taken():
    done: list[int] = []
    answers = SINGLE.map_sharded(3, lambda shard: done.append(shard) or 10 * shard)
    assert next(answers) == 0
    assert done == [0]
    assert list(answers) == [10, 20]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(SHARED)))
def test_a_command_for_one_process_refuses_torchrun_before_it_does_anything(command, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([command, "x"]) == 2
    assert f"'{command}' runs in one process, and the environment has WORLD_SIZE=2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
