"""Whole runs on a pile that is decoded as it is needed: the same labels, the same bits when resumed, the same care."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisystudent
from noisystudent.errors import DataError, MismatchError
from noisystudent.training.loader import SampleIndices
from noisystudent.training.streaming import ShardStream
from small_runs import SMALL, weights
from tar_shards import image, write_tar

STREAMED = {**SMALL, "data.streaming": "always", "data.window": 300, "train.save_every": 1e-6}


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory) -> Path:
    """The unlabeled digits as tar shards of 128 images, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("pile")
    noisystudent.pack(source="digits:unlabeled", out=folder / "shards", rows_per_shard=128, quiet=True)
    write_tar(folder / "shards/zz-last.tar", {"broken.png": b"no image"})
    for name in ("manifest.json", "inputs.json", "failures.json"):
        (folder / "shards" / name).unlink()  # with another file it is not what was packed
    return folder / "shards"


def run(unlabeled: Path, out: Path, **changes):
    settings = {**STREAMED, **{name.replace("__", "."): value for name, value in changes.items()}}
    return noisystudent.run(
        labeled="digits:labeled", unlabeled=str(unlabeled), test="digits:test", out=out, settings=settings, quiet=True
    )


@pytest.fixture(scope="module")
def finished(unlabeled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("streamed")
    return folder, run(unlabeled, folder)


def rows(folder: Path) -> dict[str, list[float]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    return {row["key"]: row["log_probabilities"] for table in tables for row in table.to_pylist()}


def test_labels_and_what_is_left_out_are_those_of_a_pile_in_memory(finished, unlabeled, tmp_path):
    folder, summary = finished
    run(unlabeled, tmp_path, data__streaming="never", rounds__count=1, rounds__control=False)
    assert weights(folder / "teacher") == weights(tmp_path / "teacher")
    streamed, kept = rows(folder / "round-1/predictions"), rows(tmp_path / "round-1/predictions")
    assert streamed.keys() == kept.keys()
    for key, values in kept.items():
        np.testing.assert_allclose(streamed[key], values, atol=1e-5)  # other batches are summed in another order
    told = [json.loads((each / "run.json").read_text())["sources"]["unlabeled"] for each in (folder, tmp_path)]
    assert told[0]["left_out"] == told[1]["left_out"] != []
    assert summary["rounds"][0]["diagnostics"]["mean_confidence"] == pytest.approx(
        np.mean([np.exp(max(values)) for values in kept.values()]), abs=1e-5
    )
    failed = pq.read_table(folder / "round-1/predictions/failed.parquet").to_pylist()
    assert [row["key"] for row in failed] == ["broken"]
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_run_that_is_stopped_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    finished, unlabeled, tmp_path, monkeypatch
):
    folder, _ = finished
    fetch, fetched = ShardStream.fetch, []

    def stopping(self: ShardStream, views: SampleIndices):
        fetched.append(views)
        if len(fetched) in (5, 7, 14):
            raise KeyboardInterrupt
        return fetch(self, views)

    monkeypatch.setattr(ShardStream, "fetch", stopping)
    monkeypatch.setattr("noisystudent.training.loop.LOG_EVERY", 1)
    for threads in (1, 3, 2):  # however many decode
        monkeypatch.setattr("noisystudent.data.images._WORKERS", threads)
        with pytest.raises(KeyboardInterrupt):
            run(unlabeled, tmp_path)
    run(unlabeled, tmp_path)
    for name in ("round-1/student", "round-2/student", "best"):
        assert weights(tmp_path / name) == weights(folder / name)


def test_a_finished_run_does_nothing_again_and_its_plan_says_so(finished, unlabeled, monkeypatch):
    folder, summary = finished
    monkeypatch.setattr("noisystudent.data.unlabeled.decode_shard", None)
    again = run(unlabeled, folder)
    assert again["student"] == summary["student"]
    states = {each.name: each.state.value for each in noisystudent.plan(
        labeled="digits:labeled",
        unlabeled=str(unlabeled),
        test="digits:test",
        out=folder,
        settings=STREAMED,
        quiet=True,
    )}  # fmt: skip
    assert next(iter(states)) == "screen"
    assert set(states.values()) == {"complete"}


def test_parts_of_several_shards_are_trained_on_alike(finished, unlabeled, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr("noisystudent.pseudo_labels.predictions.MOST_PARTS", 4)
    run(unlabeled, tmp_path)
    assert len(list((tmp_path / "round-1/predictions").glob("part-*.parquet"))) == 4
    failed = pq.read_table(tmp_path / "round-1/predictions/failed.parquet").to_pylist()
    assert [(row["shard"], row["key"]) for row in failed] == [(10, "broken")]
    assert weights(tmp_path / "round-1/student") == weights(folder / "round-1/student")


def test_a_shard_that_is_replaced_between_rounds_is_named_and_what_it_changes_is_made_again(unlabeled, tmp_path, capfd):
    own = tmp_path / "shards"
    shutil.copytree(unlabeled, own)
    settings = {**STREAMED, "rounds.control": False}
    given = {"labeled": "digits:labeled", "unlabeled": str(own), "out": tmp_path / "run", "quiet": False}
    noisystudent.run(**given, settings={**settings, "rounds.count": 1})
    teacher = weights(tmp_path / "run/teacher")
    write_tar(own / "zz-last.tar", {"other.png": image(5, 8)})
    capfd.readouterr()
    noisystudent.run(**given, settings=settings)
    said = capfd.readouterr().err
    assert re.search(r"round-1/predictions: made again.*what differs: .*files.zz-last.tar: ", said)
    assert "teacher: done before" in said
    assert weights(tmp_path / "run/teacher") == teacher


def test_step_by_step_a_pile_may_be_streamed_too(unlabeled, tmp_path, finished):
    folder, _ = finished
    predicted, selected = tmp_path / "predictions", tmp_path / "selection"
    noisystudent.label(teacher=folder / "teacher", source=unlabeled, out=predicted, quiet=True)
    noisystudent.select(predictions=predicted, out=selected)
    given = {"labeled": "digits:labeled", "predictions": predicted, "selection": selected, "quiet": True}
    # Its labels are of all images; those that the run left out are not trained on here either.
    checkpoint = noisystudent.train(
        unlabeled=unlabeled, out=tmp_path / "student", settings={**STREAMED, "validation": "digits:test"}, **given
    )
    assert checkpoint.samples_seen == 8 * 32
    assert json.loads((tmp_path / "student.screen/left-out.json").read_text())
    with pytest.raises(MismatchError, match="shards"):
        noisystudent.train(unlabeled="digits:unlabeled", out=tmp_path / "other", settings=STREAMED, **given)


def test_auto_streams_what_does_not_fit(unlabeled, tmp_path):
    settings = {**SMALL, "data.memory_limit_gb": 7e-5}  # of 8 x 8 pixels 1,094 images
    summary = noisystudent.run(
        labeled="digits:labeled", unlabeled=str(unlabeled), out=tmp_path, quiet=True,
        settings={**settings, "rounds.count": 1, "train.steps": 2},
    )  # fmt: skip
    assert summary["rounds"][0]["selected"] > 0
    assert json.loads((tmp_path / "run.json").read_text())["sources"]["unlabeled"]["images"] == 1258
    with pytest.raises(DataError, match=r"memory_limit_gb|streaming"):
        noisystudent.run(
            labeled="digits:labeled", unlabeled=str(unlabeled), out=tmp_path / "kept", quiet=True,
            settings={**settings, "data.streaming": "never"},
        )  # fmt: skip
