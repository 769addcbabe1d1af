"""Whole runs on unlabeled images that are decoded when needed: the same labels, the same bits after a kill."""

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
from small_runs import SMALL, weights, without
from tar_shards import image, write_tar

STREAMED = {**SMALL, "data.streaming": "always", "data.window": 300, "train.save_every": 1e-6}
STREAMED_TRAIN = without(STREAMED, "rounds.count")


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory) -> Path:
    """The unlabeled digits as tar shards of 128 images, and one image that cannot be read."""
    folder = tmp_path_factory.mktemp("unlabeled")
    noisystudent.pack(source="digits:unlabeled", out=folder / "shards", rows_per_shard=128, quiet=True)
    write_tar(folder / "shards/zz-last.tar", {"broken.png": b"no image"})
    for name in ("manifest.json", "inputs.json", "failures.json"):
        (folder / "shards" / name).unlink()  # with another file it is not what was packed
    return folder / "shards"


def run(unlabeled: Path, out: Path, **changes) -> noisystudent.Run:
    settings = {**STREAMED, **{name.replace("__", "."): value for name, value in changes.items()}}
    if settings["data.streaming"] == "never":
        settings = without(settings, "data.window")
    return noisystudent.run("digits:labeled", unlabeled, test="digits:test", out=out, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def finished(unlabeled, tmp_path_factory) -> noisystudent.Run:
    return run(unlabeled, tmp_path_factory.mktemp("streamed"))


def rows(folder: Path) -> dict[str, list[float]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))]
    return {row["key"]: row["log_probabilities"] for table in tables for row in table.to_pylist()}


def test_labels_and_left_out_images_are_those_of_an_unlabeled_set_in_memory(finished, unlabeled, tmp_path):
    in_memory = run(unlabeled, tmp_path, data__streaming="never", rounds__count=1, rounds__controls=0)
    assert weights(finished.path / "teacher") == weights(tmp_path / "teacher")
    streamed_rows, rows_in_memory = (rows(folder / "round-1/predictions") for folder in (finished.path, tmp_path))
    assert streamed_rows.keys() == rows_in_memory.keys()
    for key, values in rows_in_memory.items():
        np.testing.assert_allclose(streamed_rows[key], values, atol=1e-5)  # other batches are summed in another order
    left_out = [result.facts.sources["unlabeled"].left_out for result in (finished, in_memory)]
    assert left_out[0] == left_out[1] != ()
    assert finished.rounds[0].diagnostics["mean_confidence"] == pytest.approx(
        np.mean([np.exp(max(values)) for values in rows_in_memory.values()]), abs=1e-5
    )
    failed = pq.read_table(finished.path / "round-1/predictions/failed.parquet").to_pylist()
    assert [row["key"] for row in failed] == ["broken"]
    assert finished.report.stat().st_size > 10_000


def test_a_run_that_is_stopped_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    finished, unlabeled, tmp_path, monkeypatch
):
    fetch, fetched = ShardStream.fetch, []

    def stopping(self: ShardStream, indices: SampleIndices):
        fetched.append(indices)
        if len(fetched) in (5, 7, 14):
            raise KeyboardInterrupt
        return fetch(self, indices)

    monkeypatch.setattr(ShardStream, "fetch", stopping)
    monkeypatch.setattr("noisystudent.training.loop.LOG_EVERY", 1)
    for threads in (1, 3, 2):  # however many decode
        monkeypatch.setattr("noisystudent.data.images._WORKERS", threads)
        with pytest.raises(KeyboardInterrupt):
            run(unlabeled, tmp_path)
    run(unlabeled, tmp_path)
    for name in ("round-1/student", "round-2/student", "best"):
        assert weights(tmp_path / name) == weights(finished.path / name)


def test_a_finished_run_does_nothing_again_and_its_plan_says_so(finished, unlabeled, monkeypatch):
    monkeypatch.setattr("noisystudent.data.unlabeled.decode_shard", None)
    again = run(unlabeled, finished.path)
    assert again.student == finished.student
    plan = noisystudent.plan(
        "digits:labeled", unlabeled, test="digits:test", out=finished.path, settings=STREAMED, quiet=True
    )
    assert plan.stages[0].name == "screen"
    assert {stage.state for stage in plan.stages} == {"complete"}


def test_parts_of_several_shards_train_the_same_student(finished, unlabeled, tmp_path, monkeypatch):
    monkeypatch.setattr("noisystudent.pseudo_labels.predictions.MAX_PARTS", 4)
    run(unlabeled, tmp_path, rounds__count=1, rounds__controls=0)
    assert len(list((tmp_path / "round-1/predictions").glob("part-*.parquet"))) == 4
    failed = pq.read_table(tmp_path / "round-1/predictions/failed.parquet").to_pylist()
    assert [(row["shard"], row["key"]) for row in failed] == [(10, "broken")]
    assert weights(tmp_path / "round-1/student") == weights(finished.path / "round-1/student")


def test_a_replaced_shard_is_named_and_stages_that_depend_on_it_are_redone(unlabeled, tmp_path, capfd):
    own = tmp_path / "shards"
    shutil.copytree(unlabeled, own)
    settings = {**STREAMED, "rounds.controls": 0}
    given = {"labeled": "digits:labeled", "unlabeled": own, "out": tmp_path / "run"}
    noisystudent.run(**given, settings={**settings, "rounds.count": 1})
    teacher = weights(tmp_path / "run/teacher")
    write_tar(own / "zz-last.tar", {"other.png": image(5, 8)})
    capfd.readouterr()
    noisystudent.run(**given, settings=settings)
    progress = capfd.readouterr().err
    assert re.search(r"round-1/predictions: made again.*what differs: .*files.zz-last.tar: ", progress)
    assert "teacher: done before" in progress
    assert weights(tmp_path / "run/teacher") == teacher


def test_an_unlabeled_set_may_be_streamed_stage_by_stage_too(unlabeled, tmp_path, finished):
    predictions, selection = tmp_path / "predictions", tmp_path / "selection"
    noisystudent.label(teacher=finished.path / "teacher", source=unlabeled, out=predictions, quiet=True)
    noisystudent.select(predictions=predictions, out=selection)
    given = {"labeled": "digits:labeled", "predictions": predictions, "selection": selection, "quiet": True}
    # The predictions are of all images; this training excludes those that the run left out, too.
    checkpoint = noisystudent.train(
        unlabeled=unlabeled, out=tmp_path / "student", settings={**STREAMED_TRAIN, "validation": "digits:test"}, **given
    )
    assert checkpoint.samples_seen == 8 * 32
    assert json.loads((tmp_path / "student.screen/left-out.json").read_text())
    with pytest.raises(MismatchError, match="shards"):
        noisystudent.train(unlabeled="digits:unlabeled", out=tmp_path / "other", settings=STREAMED_TRAIN, **given)


def test_auto_streams_images_that_do_not_fit_into_memory(unlabeled, tmp_path):
    settings = {**SMALL, "data.memory_limit_gb": 7e-5}  # 1,094 images of 8 x 8 pixels
    finished = noisystudent.run(
        "digits:labeled", unlabeled, out=tmp_path / "run", quiet=True,
        settings={**settings, "rounds.count": 1, "rounds.controls": 0, "train.steps": 2},
    )  # fmt: skip
    assert finished.rounds[0].selected > 0
    assert finished.facts.sources["unlabeled"].images == 1258
    with pytest.raises(DataError, match=r"memory_limit_gb|streaming"):
        noisystudent.run(
            "digits:labeled", unlabeled, out=tmp_path / "in-memory", quiet=True,
            settings={**without(settings, "data.window"), "data.streaming": "never"},
        )  # fmt: skip
