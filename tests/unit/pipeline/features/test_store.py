"""Features are computed once per image, whatever its name, place or role, and damage is mended."""

import hashlib

import numpy as np
import pytest

from noisystudent.data.images import Images
from noisystudent.errors import SettingsError
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.features.store import FeatureStore, FeatureView

PLAIN = FeatureView({"view": "plain"})


class Network:
    """Its features are the mean pixel and its square; it counts the images that it sees."""

    fingerprint, size, precision, engine = "network", 8, "float32", "torch"

    def __init__(self):
        self.seen = 0

    def features(self, images):
        self.seen += len(images)
        mean = images.pixels.reshape(len(images), -1).mean(axis=1) / 255
        return np.stack([mean, mean**2], axis=1).astype(np.float32)


def images_of(values):
    pixels = np.stack([np.full((3, 8, 8), value, np.uint8) for value in values])
    pixels[:, :, 0] = 255  # so that a flip or crop changes them
    return Images(
        keys=tuple(f"{place}.jpg" for place in range(len(values))),
        pixels=pixels,
        sizes=np.full((len(values), 2), 8, np.int32),
        labels=np.full(len(values), -1, np.int64),
        digests=tuple(hashlib.sha256(image.tobytes()).hexdigest()[:32] for image in pixels),
        failures=(),
        classes=None,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def expected(images):
    return Network().features(images).astype(np.float16)


def test_known_images_are_read_in_any_order_and_under_any_name():
    network = Network()
    first = images_of([10, 20, 30, 20])
    np.testing.assert_array_equal(FeatureStore.open(network, PLAIN).features(first), expected(first))
    assert network.seen == 3
    later, store = images_of([30, 40, 10]), FeatureStore.open(network, PLAIN)
    assert store.missing(later) == 1
    np.testing.assert_array_equal(store.features(later), expected(later))
    assert network.seen == 4
    assert store.missing(later) == 0
    assert store.size > 0


def test_another_network_size_precision_engine_or_view_has_features_of_its_own():
    def folder(view=PLAIN, **facts):
        network = Network()
        for name, value in facts.items():
            setattr(network, name, value)
        return FeatureStore.open(network, view).folder

    others = [
        folder(fingerprint="x"), folder(size=16), folder(precision="bfloat16"), folder(engine="onnx"),
        folder(FeatureView({"view": "other"})),
    ]  # fmt: skip
    assert len({folder(), *others}) == 6


def test_a_damaged_file_is_made_again():
    network, images = Network(), images_of([1, 2])
    store = FeatureStore.open(network, PLAIN)
    store.features(images)
    (path,) = store.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    np.testing.assert_array_equal(FeatureStore.open(network, PLAIN).features(images), expected(images))
    assert network.seen == 4


def test_a_noised_view_depends_on_the_image_and_not_on_its_place():
    noise = InputNoise(NoiseSettings(flip=True), size=8, strength=1.0, rng=CounterRng(0, "views"))
    view = FeatureView({"number": 0}, noise, 0)
    images = images_of([10, 90, 200])
    turned = images.take(np.array([2, 0, 1]))
    np.testing.assert_array_equal(view.of(images).pixels[[2, 0, 1]], view.of(turned).pixels)
    other = FeatureView({"number": 1}, noise, 1)
    assert (other.of(images).pixels != view.of(images).pixels).any()
    assert view.of(images).keys == images.keys


def test_no_images_have_no_features():
    assert len(FeatureStore.open(Network(), PLAIN).features(images_of([1]).take(np.array([], np.int64)))) == 0


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("noisystudent.pipeline.features.store.atomic_write", refuse)
    with pytest.raises(SettingsError, match=r"cannot be written.*XDG_CACHE_HOME"):
        FeatureStore.open(Network(), PLAIN).features(images_of([1]))
