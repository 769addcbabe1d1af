"""Near-duplicates against a plain search with SciPy's cosine transform, and their effect in a run."""

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from noisystudent.data.dedup import perceptual
from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.dedup.perceptual import hash_images, near_duplicates
from noisystudent.data.settings import DataSettings
from noisystudent.data.splits import open_splits
from noisystudent.errors import DataError
from scenes import as_images, halved, saved_again, scene


def frequencies_by_scipy(image) -> np.ndarray:
    gray = np.asarray(image, np.float64) @ [0.299, 0.587, 0.114] if image.ndim == 3 else np.asarray(image, np.float64)
    return dctn(gray, norm="ortho")[:8, :8].ravel()[1:] / np.sqrt(gray.size)


def found_by_comparing_all(unlabeled, held_out, distance: int) -> dict[int, int]:
    """The documented rules, applied pair by pair."""
    hashes, frequencies = [], []
    for side in (unlabeled, held_out):
        numbers = np.array([frequencies_by_scipy(image) for image in side])
        hashes.append(numbers > np.median(numbers, axis=1, keepdims=True))
        frequencies.append(numbers / np.linalg.norm(numbers, axis=1, keepdims=True))
    candidates = {}
    for row in range(len(unlabeled)):
        for other in range(len(held_out)):
            correlation = frequencies[0][row] @ frequencies[1][other]
            is_close = (hashes[0][row] != hashes[1][other]).sum() <= distance
            if is_close and correlation >= perceptual.CANDIDATE_CORRELATION:
                candidates[row, other] = correlation
    best: dict[int, tuple[float, int]] = {}
    for (row, other), correlation in candidates.items():
        crowd = max(sum(pair[0] == row for pair in candidates), sum(pair[1] == other for pair in candidates))
        in_crowd = crowd > perceptual.CROWD_SIZE
        required = perceptual.DUPLICATE_CORRELATION_IN_CROWD if in_crowd else perceptual.DUPLICATE_CORRELATION
        if correlation >= required and correlation > best.get(row, (0, 0))[0]:
            best[row] = (correlation, other)
    return {row: other for row, (_, other) in best.items()}


@pytest.mark.parametrize("shape", [(32, 32, 3), (45, 30, 3), (28, 28, 1)])
def test_frequencies_are_those_of_the_cosine_transform(shape):
    random = np.random.default_rng(0)
    images = [scene(random, *shape).squeeze() for _ in range(5)]
    images.append(images[0][:20, :25])  # another size, on the same canvas
    expected = np.array([frequencies_by_scipy(image) for image in images])
    frequencies = hash_images(as_images(images)).frequencies
    np.testing.assert_allclose(frequencies, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(("chunk", "block"), [(1024, 64), (7, 3)])
@pytest.mark.parametrize("distance", [0, 6, 16])
def test_near_duplicates_are_those_of_a_plain_search(monkeypatch, chunk, block, distance):
    monkeypatch.setattr(perceptual, "_CHUNK", chunk)
    monkeypatch.setattr(perceptual, "_BLOCK", block)
    random = np.random.default_rng(1)
    held_out = [scene(random, 24, 32) for _ in range(12)]
    unlabeled = [scene(random, 24, 32) for _ in range(20)]
    unlabeled += [saved_again(held_out[row], 60) for row in (3, 5, 5, 7)] + [halved(held_out[2])]
    # A crowd: mixtures of one held-out image with others, from almost the same to less similar.
    for share in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        mixed = (1 - share) * held_out[9].astype(float) + share * scene(random, 24, 32)
        unlabeled.append(mixed.astype(np.uint8))
    # A second crowd: an unlabeled image that is almost the same as each of several held-out ones.
    other = scene(random, 24, 32).astype(float)
    others = [0.94 * other + 0.06 * scene(random, 24, 32) for _ in range(7)]
    held_out += [mixed.astype(np.uint8) for mixed in others[:6]]
    unlabeled.append(others[6].astype(np.uint8))
    unlabeled = [unlabeled[row] for row in random.permutation(len(unlabeled))]
    rows, partners = near_duplicates(as_images(unlabeled), as_images(held_out), distance)
    expected = found_by_comparing_all(unlabeled, held_out, distance)
    assert dict(zip(rows.tolist(), partners.tolist(), strict=True)) == expected
    assert distance == 0 or {2, 3, 5, 7, 9} <= set(expected.values())
    assert len(expected) < 13  # the less similar images of the crowd stay


@pytest.mark.parametrize(
    "change",
    [
        lambda image: saved_again(image, 75),
        lambda image: saved_again(image, 40),
        halved,
        lambda image: (image * 0.8).astype(np.uint8),
        lambda image: image // 2 + 60,
    ],
    ids=["quality 75", "quality 40", "halved", "darker", "less contrast"],
)
def test_copies_are_found_and_others_are_not(change):
    random = np.random.default_rng(2)
    held_out = [scene(random, 64, 64) for _ in range(40)]
    unlabeled = [change(image) for image in held_out] + [scene(random, 64, 64) for _ in range(400)]
    rows, partners = near_duplicates(as_images(unlabeled), as_images(held_out), 10)
    assert rows.tolist() == partners.tolist() == list(range(40))


def test_flat_images_have_no_near_duplicates():
    random = np.random.default_rng(3)
    flat = [np.full((16, 16), level, np.uint8) for level in (0, 100, 255)]
    flat += [random.integers(99, 102, (16, 16)) for _ in range(3)]
    rows, _ = near_duplicates(as_images(flat), as_images(flat), 16)
    assert rows.tolist() == []


def test_a_crowd_of_any_size_takes_little_memory(monkeypatch):
    monkeypatch.setattr(perceptual, "_CHUNK", 50)
    image = scene(np.random.default_rng(4), 16, 16)
    rows, partners = near_duplicates(as_images([image] * 400), as_images([image] * 300), 10)
    assert rows.tolist() == list(range(400))
    assert set(partners.tolist()) == {0}


def test_no_images_have_no_near_duplicates():
    images = as_images([scene(np.random.default_rng(5), 16, 16)])
    empty = images.take(np.arange(0))
    for unlabeled, held_out in ((empty, images), (images, empty), (empty, empty)):
        assert [len(side) for side in near_duplicates(unlabeled, held_out, 10)] == [0, 0]


@pytest.fixture
def folders(tmp_path):
    """Labeled and test images of two classes; unlabeled images: one identical to a test image, one saved again."""
    random = np.random.default_rng(6)
    for part, count in (("labeled", 4), ("test", 3)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(scene(random, 32, 32)).save(tmp_path / part / name / f"{number}.png")
    (tmp_path / "unlabeled").mkdir()
    Image.open(tmp_path / "test/a/1.png").save(tmp_path / "unlabeled/same.png")
    Image.open(tmp_path / "test/b/2.png").save(tmp_path / "unlabeled/again.jpg", quality=60)
    return tmp_path


def opened(folders, **settings):
    specs = {"labeled": "labeled", "unlabeled": "unlabeled", "test": "test"}
    return open_splits({role: str(folders / name) for role, name in specs.items()}, DataSettings(**settings), seed=0)


def test_a_run_leaves_out_images_like_held_out_ones_and_records_how_it_found_them(folders):
    Image.fromarray(scene(np.random.default_rng(7), 32, 32)).save(folders / "unlabeled/other.png")
    splits = opened(folders)
    assert splits.unlabeled.images.keys == ("other.png",)
    assert splits.unlabeled.left_out == [
        Excluded("same.png", "a/1.png", "identical"),
        Excluded("again.jpg", "b/2.png", "near-duplicate"),
    ]
    without_near_duplicates = opened(folders, near_duplicates="none").unlabeled
    assert without_near_duplicates.images.keys == ("again.jpg", "other.png")
    assert [image.key for image in without_near_duplicates.left_out] == ["same.png"]


def test_an_unlabeled_set_of_held_out_images_only_is_refused(folders):
    with pytest.raises(
        DataError, match=r"all 2 unlabeled images .* \(1 of them are near-duplicates.*near_duplicates none"
    ):
        opened(folders)
