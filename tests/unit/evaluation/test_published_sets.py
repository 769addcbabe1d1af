"""Published sets of corrupted and perturbed images: what is found where, and what is refused."""

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


def opened(folder, classes=CLASSES):
    return CorruptedSet(folder, known=CORRUPTIONS, model_classes=classes)


def test_a_fifth_of_an_array_is_a_severity(tmp_path):
    pixels = save_arrays(tmp_path)
    found = opened(tmp_path)
    assert dict(found.severities) == {"fog": (1, 2, 3, 4, 5)}
    assert found.arrays
    for severity in (1, 2, 5):
        source = found.source("fog", severity)
        records = list(source.read(0))
        rows = slice(6 * severity - 6, 6 * severity)
        assert np.array_equal(np.stack([record.image for record in records]), pixels[rows])
        names = [source.classes[record.label] for record in records]
        assert names == [CLASSES[row // 2 % 3] for row in range(30)[rows]]
        assert [record.key for record in records] == [f"{row:06d}" for row in range(6)]
    prints = {found.source("fog", severity).fingerprint for severity in (1, 2, 3, 4, 5)}
    assert len(prints) == 5
    pixels[29] += 1
    save_arrays(tmp_path, pixels=pixels)
    again = {opened(tmp_path).source("fog", severity).fingerprint for severity in (1, 2, 3, 4, 5)}
    assert len(prints & again) == 4  # only severity 5 has changed


def test_numbers_are_places_of_the_classes_or_their_names(tmp_path):
    save_arrays(tmp_path, labels=np.tile([2, 10], 15))
    as_text = tuple(sorted(map(str, range(12))))  # 0 1 10 11 2 ...
    assert opened(tmp_path, as_text).source("fog", 1).classes == ("2", "10")
    words = tuple(f"class {letter}" for letter in "abcdefghijkl")
    assert opened(tmp_path, words).source("fog", 1).classes == ("class c", "class k")


def test_folders_lie_in_the_root_or_one_deeper(tmp_path):
    for severity in (1, 3):
        save_folder(tmp_path / "weather/fog" / str(severity), ending="jpeg")
    save_folder(tmp_path / "contrast/5", CLASSES[:2])
    save_folder(tmp_path / "weather/hail/1")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    found = opened(tmp_path)
    assert dict(found.severities) == {"fog": (1, 3), "contrast": (5,)}
    assert found.ignored == ("notes", "weather/hail")
    assert found.source("fog", 3).classes == CLASSES
    assert found.source("contrast", 5).classes == CLASSES[:2]
    assert [record.key for record in found.source("fog", 1).read(0)] == [f"{name}/0.jpeg" for name in CLASSES]


def test_a_corruption_that_is_there_twice_is_refused(tmp_path):
    save_folder(tmp_path / "weather/fog/1")
    save_folder(tmp_path / "fog/1")
    with pytest.raises(DataError, match=r"'fog' is in .* twice"):
        opened(tmp_path)


def test_what_is_no_set_is_said(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder .*evaluation\.corrupted"):
        opened(tmp_path / "none")
    with pytest.raises(DataError, match="it has no folders"):
        opened(tmp_path)
    save_folder(tmp_path / "fogg/1")
    with pytest.raises(DataError, match=r"it has 'fogg'\. Did you mean 'fog'\? .*Unpack the archives"):
        opened(tmp_path)
    np.save(tmp_path / "gaussian_nois.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"Did you mean 'gaussian_noise'"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(12, int)}, r"'labels\.npy' .* shape \(12,\), and labels are integers of shape \(30,\)"),
        ({"labels": np.full(30, 3)}, "labels from 3 to 3, and 3 classes allow 0 to 2"),
        ({"labels": np.zeros(30)}, "is float64 of shape"),
        ({"rows": 32}, "32 images, which are not as many for each of the 5 severities"),
        ({"pixels": np.zeros((30, 4, 4, 3), np.float32)}, "of type float32, and images are uint8"),
        ({"pixels": np.zeros((30, 3, 4, 4), np.uint8)}, r"shape \(30, 3, 4, 4\)"),
        (
            {"pixels": np.array([{}] * 30)},
            r"fog\.npy' is no \.npy file of plain numbers.*[Pp]ython objects",
        ),
    ],
)
def test_arrays_of_another_form_are_refused(tmp_path, changes, message):
    save_arrays(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        opened(tmp_path).source("fog", 1)


def test_files_that_are_no_arrays_are_refused(tmp_path):
    save_arrays(tmp_path)
    with (tmp_path / "fog.npy").open("wb") as file:
        np.savez(file, x=np.zeros(30))
    with pytest.raises(DataError, match="an archive of arrays"):
        opened(tmp_path).source("fog", 1)
    (tmp_path / "fog.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"is no \.npy file of plain numbers"):
        opened(tmp_path).source("fog", 1)
    save_arrays(tmp_path)
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"no labels\.npy beside"):
        opened(tmp_path).source("fog", 1)


def test_an_array_stays_on_the_disk(tmp_path):
    """A file of 307 MB, of which a severity has 61 MB, is gone through and identified within a few MB."""
    rows = 100_000
    mapped = np.lib.format.open_memmap(tmp_path / "fog.npy", "w+", np.uint8, (rows, 32, 32, 3))
    mapped[-1] = 1
    del mapped
    np.save(tmp_path / "labels.npy", np.zeros(rows, np.uint8))
    tracemalloc.start()
    try:
        source = opened(tmp_path).source("fog", 5)
        assert len(source.fingerprint) == 64
        last = len(source.shard_sizes) - 1
        seen = [len(decode_shard(source, shard, ImageFormat(32, 3))) for shard in (0, 1, last)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == [1024, 1024, 20_000 - 1024 * last]
    assert peak < 25e6


def test_whole_images_are_stored_without_a_margin():
    assert ImageFormat(224, 3, whole=True).storage_size == 224
    assert ImageFormat(224, 3).storage_size == 256
    assert ImageFormat(32, 3, whole=True).storage_size == ImageFormat(32, 3).storage_size == 32


def test_sequences_are_rows_of_an_array(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 7, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "tilt.npy", frames)
    found = PerturbedSet(tmp_path, known=("tilt", "scale"))
    assert found.names == ("tilt",)
    sequences = found.sequences("tilt")
    assert sequences.count == 5
    assert np.array_equal(sequences.frames(3), frames[3])
    np.save(tmp_path / "tilt.npy", frames[..., :1])
    assert found.sequences("tilt").frames(0).shape == (7, 4, 4)
    assert found.sequences("tilt").fingerprint != sequences.fingerprint
    np.save(tmp_path / "tilt.npy", frames[0])
    with pytest.raises(DataError, match=r"shape \(7, 4, 4, 3\), and sequences are uint8 \[N, frames, H, W, 3\]"):
        found.sequences("tilt")
    np.save(tmp_path / "tilt.npy", np.array([{}]))
    with pytest.raises(DataError, match=r"is no \.npy file of plain numbers"):
        found.sequences("tilt")


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
        found = sequences.frames(number)
        assert found.shape == (4, 32, 32, 3)
        assert np.abs(found.astype(int) - expected).mean(axis=(1, 2)).max() < 12  # color is lossy, the order is not
    (tmp_path / "viewpoint/tilt/cat/b.mp4").write_bytes(b"no video")
    assert PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt").fingerprint != sequences.fingerprint
    with pytest.raises(DataError, match=r"b\.mp4' cannot be read"):
        sequences.frames(1)


def test_a_playlist_is_no_video(tmp_path):
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


def test_the_decoder_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "tilt/cat").mkdir(parents=True)
    (tmp_path / "tilt/cat/a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"pip install 'noisystudent\[videos\]'"):
        PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt").frames(0)
    (tmp_path / "tilt/cat/a.mp4").unlink()
    with pytest.raises(DataError, match="holds no videos"):
        PerturbedSet(tmp_path, known=("tilt",)).sequences("tilt")
