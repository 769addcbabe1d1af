"""Published sets of corrupted and perturbed images: their layouts, and errors for other layouts."""

import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.read import CorruptedSet
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS
from noisystudent.evaluation.perturbations.read import PerturbedSet
from noisystudent.evaluation.perturbations.videos import read_video

CLASSES = ("airplane", "bird", "cat")


def save_arrays(folder, *, rows=30, labels=None, name="fog", pixels=None):
    folder.mkdir(exist_ok=True)
    pixels = np.arange(rows * 48, dtype=np.int64).astype(np.uint8).reshape(rows, 4, 4, 3) if pixels is None else pixels
    np.save(folder / f"{name}.npy", pixels)
    np.save(folder / "labels.npy", np.arange(rows) // 2 % 3 if labels is None else labels)
    return pixels


def save_folder(folder, classes=CLASSES, ending="png"):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 10 * number, np.uint8)).save(folder / name / f"0.{ending}")


def open_set(folder, classes=CLASSES):
    return CorruptedSet(folder, known=CORRUPTIONS, model_classes=classes)


def test_each_fifth_of_an_array_is_a_severity(tmp_path):
    pixels = save_arrays(tmp_path)
    corrupted = open_set(tmp_path)
    assert dict(corrupted.severities) == {"fog": (1, 2, 3, 4, 5)}
    assert corrupted.arrays
    for severity in (1, 2, 5):
        source = corrupted.source("fog", severity)
        records = list(source.read(0))
        rows = slice(6 * severity - 6, 6 * severity)
        assert np.array_equal(np.stack([record.image for record in records]), pixels[rows])
        names = [source.classes[record.label] for record in records]
        assert names == [CLASSES[row // 2 % 3] for row in range(30)[rows]]
        assert [record.key for record in records] == [f"{row:06d}" for row in range(6)]
    fingerprints = {corrupted.source("fog", severity).fingerprint for severity in (1, 2, 3, 4, 5)}
    assert len(fingerprints) == 5
    pixels[29] += 1
    save_arrays(tmp_path, pixels=pixels)
    changed = {open_set(tmp_path).source("fog", severity).fingerprint for severity in (1, 2, 3, 4, 5)}
    assert len(fingerprints & changed) == 4  # only severity 5 has changed


def test_label_numbers_are_indices_of_the_classes_or_their_names(tmp_path):
    save_arrays(tmp_path, labels=np.tile([2, 10], 15))
    as_text = tuple(sorted(map(str, range(12))))  # 0 1 10 11 2 ...
    assert open_set(tmp_path, as_text).source("fog", 1).classes == ("2", "10")
    words = tuple(f"class {letter}" for letter in "abcdefghijkl")
    assert open_set(tmp_path, words).source("fog", 1).classes == ("class c", "class k")


def test_folders_are_in_the_root_or_one_level_deeper(tmp_path):
    for severity in (1, 3):
        save_folder(tmp_path / "weather/fog" / str(severity), ending="jpeg")
    save_folder(tmp_path / "contrast/5", CLASSES[:2])
    save_folder(tmp_path / "weather/hail/1")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    corrupted = open_set(tmp_path)
    assert dict(corrupted.severities) == {"fog": (1, 3), "contrast": (5,)}
    assert corrupted.ignored == ("notes", "weather/hail")
    assert corrupted.source("fog", 3).classes == CLASSES
    assert corrupted.source("contrast", 5).classes == CLASSES[:2]
    assert [record.key for record in corrupted.source("fog", 1).read(0)] == [f"{name}/0.jpeg" for name in CLASSES]


def test_a_duplicate_corruption_is_refused(tmp_path):
    save_folder(tmp_path / "weather/fog/1")
    save_folder(tmp_path / "fog/1")
    with pytest.raises(DataError, match=r"'fog' is in .* twice"):
        open_set(tmp_path)


def test_folders_without_a_set_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*evaluation\.corruptions_dir"):
        open_set(tmp_path / "none")
    with pytest.raises(DataError, match="it has no folders"):
        open_set(tmp_path)
    save_folder(tmp_path / "fogg/1")
    with pytest.raises(DataError, match=r"it has 'fogg'\. Did you mean 'fog'\? .*Unpack the archives"):
        open_set(tmp_path)
    np.save(tmp_path / "gaussian_nois.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"Did you mean 'gaussian_noise'"):
        open_set(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(12, int)}, r"'labels\.npy' .* shape \(12,\), and labels are integers of shape \(30,\)"),
        ({"labels": np.full(30, 3)}, "labels from 3 to 3, and 3 classes allow 0 to 2"),
        ({"labels": np.zeros(30)}, "is float64 of shape"),
        ({"rows": 32}, "32 images, which is not a multiple of the 5 severities"),
        ({"pixels": np.zeros((30, 4, 4, 3), np.float32)}, "of type float32, and images are uint8"),
        ({"pixels": np.zeros((30, 3, 4, 4), np.uint8)}, r"shape \(30, 3, 4, 4\)"),
        (
            {"pixels": np.array([{}] * 30)},
            r"fog\.npy' is not a \.npy file of plain numbers.*[Pp]ython objects",
        ),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changes, message):
    save_arrays(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        open_set(tmp_path).source("fog", 1)


def test_files_that_are_not_arrays_are_refused(tmp_path):
    save_arrays(tmp_path)
    with (tmp_path / "fog.npy").open("wb") as file:
        np.savez(file, x=np.zeros(30))
    with pytest.raises(DataError, match="an archive of arrays"):
        open_set(tmp_path).source("fog", 1)
    (tmp_path / "fog.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"is not a \.npy file of plain numbers"):
        open_set(tmp_path).source("fog", 1)
    save_arrays(tmp_path)
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"no labels\.npy beside"):
        open_set(tmp_path).source("fog", 1)


def test_an_array_stays_on_the_disk(tmp_path):
    """A severity of 61 MB, in a file of 307 MB, is read and fingerprinted within a few MB of memory."""
    rows = 100_000
    mapped = np.lib.format.open_memmap(tmp_path / "fog.npy", "w+", np.uint8, (rows, 32, 32, 3))
    mapped[-1] = 1
    del mapped
    np.save(tmp_path / "labels.npy", np.zeros(rows, np.uint8))
    tracemalloc.start()
    try:
        source = open_set(tmp_path).source("fog", 5)
        assert len(source.fingerprint) == 64
        last = len(source.shard_sizes) - 1
        sizes = [len(decode_shard(source, shard, ImageFormat(32, 3))) for shard in (0, 1, last)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sizes == [1024, 1024, 20_000 - 1024 * last]
    assert peak < 25e6


def test_whole_images_are_stored_without_a_margin():
    assert ImageFormat(224, 3, whole=True).storage_size == 224
    assert ImageFormat(224, 3).storage_size == 256
    assert ImageFormat(32, 3, whole=True).storage_size == ImageFormat(32, 3).storage_size == 32


def test_sequences_are_rows_of_an_array(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "tilt.npy", frames)
    perturbed = PerturbedSet(tmp_path, known=("tilt", "scale"))
    assert perturbed.names == ("tilt",)
    sequences = perturbed.sequences("tilt")
    assert sequences.count == 5
    assert np.array_equal(sequences.frames(3), frames[3])
    np.save(tmp_path / "tilt.npy", frames[..., :1])
    assert perturbed.sequences("tilt").frames(0).shape == (7, 4, 4)
    assert perturbed.sequences("tilt").fingerprint != sequences.fingerprint
    np.save(tmp_path / "tilt.npy", frames[0])
    with pytest.raises(DataError, match=r"shape \(7, 4, 4, 3\); sequences are uint8 \[N, frames, H, W, 3\]"):
        perturbed.sequences("tilt")
    np.save(tmp_path / "tilt.npy", np.array([{}]))
    with pytest.raises(DataError, match=r"is not a \.npy file of plain numbers"):
        perturbed.sequences("tilt")


def save_video(path, frames):
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 10_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_videos_are_read_frame_by_frame(tmp_path):
    colors = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [120, 120, 120]], np.uint8)
    frames = np.broadcast_to(colors[:, None, None], (4, 32, 32, 3)).copy()
    save_video(tmp_path / "viewpoint/tilt/cat/b.mp4", frames)
    save_video(tmp_path / "viewpoint/tilt/bird/a.mp4", frames[::-1])
    sequences = PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt")
    assert sequences.count == 2
    for number, expected in enumerate((frames[::-1], frames)):
        decoded = sequences.frames(number)
        assert decoded.shape == (4, 32, 32, 3)
        assert (
            np.abs(decoded.astype(int) - expected).mean(axis=(1, 2)).max() < 12
        )  # compression changes colors, but not the order
    (tmp_path / "viewpoint/tilt/cat/b.mp4").write_bytes(b"no video")
    assert PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt").fingerprint != sequences.fingerprint
    with pytest.raises(DataError, match=r"b\.mp4' cannot be read"):
        sequences.frames(1)


def test_a_playlist_is_not_read_as_a_video(tmp_path):
    pytest.importorskip("av")
    save_video(tmp_path / "a.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    (tmp_path / "list.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/a.mp4\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(DataError, match=r"list\.mp4' cannot be read"):
        read_video(tmp_path / "list.mp4")


def test_large_videos_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("av")
    save_video(tmp_path / "a.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    monkeypatch.setattr("noisystudent.evaluation.perturbations.videos.MAX_PIXELS", 2 * 32 * 32)
    with pytest.raises(DataError, match="more than the 2,048 pixels allowed"):
        read_video(tmp_path / "a.mp4")


def test_a_missing_decoder_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "tilt/cat").mkdir(parents=True)
    (tmp_path / "tilt/cat/a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"pip install 'noisystudent\[videos\]'"):
        PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt").frames(0)
    (tmp_path / "tilt/cat/a.mp4").unlink()
    with pytest.raises(DataError, match="holds no videos"):
        PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt")
