"""A predictor answers the same for images in any form, and says in one line what it cannot use."""

import gc
import re
import weakref
from contextlib import ExitStack

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch import nn
from torchvision.transforms.v2 import Normalize

import noisystudent
from noisystudent.data.images import decode_shard, decode_source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, ModelError, SettingsError
from noisystudent.models import image_inputs
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.load_predictor import load
from noisystudent.models.predictor import Predictor
from noisystudent.models.teacher import Teacher
from noisystudent.runtime.settings import RuntimeSettings

CLASSES = ("cat", "dog", "owl")
SIZE = 72  # above 64 pixels: images are stored with a margin, and their center is used


def save_model(folder, *, channels=3, size=SIZE, seed=0, name="tiny_resnet"):
    torch.manual_seed(seed)
    save_classifier(create_classifier(name, classes=CLASSES, channels=channels, size=size), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "pets")


@pytest.fixture(scope="module")
def predictor(folder):
    return load(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven PNG files of several shapes."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(
        [(90, 90), (120, 80), (60, 200), (104, 104), (33, 40), (72, 72), (300, 8)]
    ):
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / f"{number}.png")
    return root


def linear(seed=0):
    """A module for gray images of 8 pixels and ten classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()


DIGITS = {"classes": tuple("0123456789"), "size": 8, "channels": 1}


def grays(count=5):
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8), dtype=np.uint8)


# Opening


def test_a_checkpoint_is_opened_by_its_folder_its_run_or_a_predictor_of_it(tmp_path, monkeypatch, folder, predictor):
    run = tmp_path / "run"
    save_model(run / "best")
    for name in ("run.json", "summary.json"):
        (run / name).write_text("{}")
        opened = load(run)
        (run / name).unlink()
        assert (opened.name, opened.fingerprint) == ("run", predictor.fingerprint)
        assert opened.origin == str(run / "best")
    (run / "summary.json").write_text("{}")
    monkeypatch.chdir(run)
    assert load(".").name == "run"
    assert load(str(folder)).fingerprint == load(f"local-dir:{folder}").fingerprint == predictor.fingerprint
    assert load(predictor) is Predictor.open(predictor) is predictor
    assert (predictor.classes, predictor.size, predictor.channels) == (CLASSES, SIZE, 3)
    assert predictor.origin == str(folder)


def test_a_run_that_is_not_finished_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match=r"a run that is not finished: it has no best/\. Run the same command again"):
        load(tmp_path)
    with pytest.raises(ModelError, match="is not a checkpoint"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("named", [False, True])
def test_a_folder_that_timm_wrote_answers_as_timm_does(tmp_path, named, photos):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=5).eval()
    names = [f"class {row}" for row in range(5)]
    save_for_hf(net, tmp_path / "hub", model_config={"label_names": names} if named else None, safe_serialization=True)
    opened = load(f"local-dir:{tmp_path / 'hub'}")
    assert opened.classes == (tuple(names) if named else ("0", "1", "2", "3", "4"))
    images = decode_source(open_source(photos, labeled=False), opened.format, max_corrupt_fraction=0, memory_limit_gb=1)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    config = theirs.pretrained_cfg
    square = images.take(np.flatnonzero(images.sizes[:, 0] == images.sizes[:, 1]))
    margin = (opened.format.storage_size - opened.size) // 2
    pixels = torch.from_numpy(square.pixels[:, :, margin : margin + opened.size, margin : margin + opened.size])
    with torch.no_grad():
        expected = theirs(Normalize(config["mean"], config["std"])(pixels / 255)).log_softmax(dim=1)
    np.testing.assert_allclose(opened.log_probabilities(square), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (linear(), {}, r"load was given a module \(Sequential\) without classes=\.\.\. and size=\.\.\.: "),
        (linear(), {"size": 8}, r"without classes=\.\.\.: "),
        (linear(), {"classes": CLASSES}, r"without size=\.\.\.: "),
        (linear(), {**DIGITS, "device": "cpu"}, r"given device, which does not apply.*move it with its own to\(\)"),
        ("folder", {"classes": CLASSES, "size": 8}, "given classes, size, .*they come from the checkpoint"),
        ("timm:resnet18", {"mean": (0.5,)}, "given mean, .*they come from the checkpoint"),
        ("folder", {"device": "gpu"}, "given device 'gpu'"),
        ("folder", {"batch_size": -1}, "given batch_size -1"),
    ],
)
def test_arguments_that_are_missing_or_do_not_apply_are_named(model, arguments, message):
    with pytest.raises(SettingsError, match=message):
        load(model, **arguments)


def test_a_predictor_keeps_its_device_precision_and_batches(predictor):
    with pytest.raises(SettingsError, match=r"runtime\.precision bfloat16 does not apply to Predictor\('pets'"):
        Predictor.open(predictor, RuntimeSettings(precision="bfloat16"))
    with pytest.raises(SettingsError, match=r"given batch_size, .*a predictor has its own"):
        load(predictor, batch_size=8)
    with pytest.raises(SettingsError, match="auto times training"):
        Predictor.open(predictor.origin, RuntimeSettings(precision="auto"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            linear(),
            r"a module \(Sequential\) .* Wrap it: noisystudent\.load\(module, classes=\[\.\.\.\], size=\.\.\.\)",
        ),
        (None, "None is no model: give a checkpoint's folder, .* or what noisystudent.load returned"),
        (7, "7 is no model"),
    ],
)
def test_what_is_no_model_is_refused_with_what_to_give(model, message):
    with pytest.raises(ModelError, match=message):
        Predictor.open(model)


def test_a_predictor_shows_what_it_is(predictor):
    assert repr(predictor) == "Predictor('pets', 3 classes, 3 x 72 x 72 pixels, float32, cpu)"


def test_the_batch_size_does_not_change_the_answers(folder, predictor, photos):
    few = load(folder, batch_size=2, device="cpu")
    assert few.batch_size == 2
    np.testing.assert_allclose(few.log_probabilities(photos), predictor.log_probabilities(photos), atol=1e-5)


# Images


def test_images_in_every_form_have_the_same_answers(predictor, photos):
    files = sorted(photos.glob("*.png"))
    opened = [Image.open(file) for file in files]
    arrays = [np.asarray(image) for image in opened]
    source = open_source(photos, labeled=False)
    values = predictor.log_probabilities(photos)
    assert values.dtype == np.float32
    assert values.shape == (7, 3)
    forms = [str(photos), source, files, opened, arrays, decode_shard(source, 0, predictor.format)]
    forms += [[torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]]
    for images in forms:
        assert np.array_equal(predictor.log_probabilities(images), values)
    for row, file in list(enumerate(files))[1:3]:  # alone, with other kernels' rounding
        for image in (file, str(file), opened[row], arrays[row]):
            np.testing.assert_allclose(predictor.log_probabilities(image), values[row : row + 1], atol=1e-5)
    proba = predictor.predict_proba(photos)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert predictor.predict(photos) == [CLASSES[row] for row in values.argmax(axis=1)]


def test_batches_of_arrays_and_tensors_have_the_same_answers(predictor):
    pixels = np.random.default_rng(2).integers(0, 256, (4, 90, 80, 3), dtype=np.uint8)
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    values = predictor.log_probabilities(pixels)
    for images in (list(pixels), tensor, tensor.float() / 255, tensor.double() / 255, (tensor / 255).requires_grad_()):
        assert np.array_equal(predictor.log_probabilities(images), values)
    assert np.array_equal(predictor.log_probabilities(tensor[:1]), predictor.log_probabilities(tensor[0]))
    views = tensor[:, :, :SIZE, :SIZE]
    by_teacher = Teacher(predictor.classifier)(views, torch.full((4, 2), SIZE)).log_softmax(dim=1)
    assert np.array_equal(predictor.log_probabilities_of_views(views), by_teacher.numpy())


def test_gray_images_in_every_form_have_the_same_answers():
    predictor, pixels = load(linear(), **DIGITS), grays()
    values = predictor.log_probabilities(pixels)
    expected = linear()(torch.from_numpy(pixels)[:, None] / 255).log_softmax(dim=1)
    np.testing.assert_allclose(values, expected.detach().numpy(), atol=1e-6)
    color = np.repeat(pixels[..., None], 3, axis=3)
    for images in (pixels[..., None], color, list(pixels), torch.from_numpy(pixels)[:, None]):
        assert np.array_equal(predictor.log_probabilities(images), values)
    assert np.array_equal(predictor.log_probabilities(pixels[0]), predictor.log_probabilities(pixels[:1]))


def test_open_images_are_converted_as_their_files_are(predictor, tmp_path):
    random = np.random.default_rng(3)
    color = Image.fromarray(random.integers(0, 256, (90, 100, 3), dtype=np.uint8))
    clear = Image.fromarray(random.integers(0, 256, (90, 100, 4), dtype=np.uint8))
    wide = Image.fromarray(random.integers(0, 65536, (90, 100), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be rotated by 90 degrees
    clear.save(tmp_path / "0.png")
    wide.save(tmp_path / "1.png")
    color.convert("CMYK").save(tmp_path / "2.jpg")
    color.quantize(16).save(tmp_path / "3.gif")
    color.save(tmp_path / "4.jpg", exif=turned)
    color.convert("LA").save(tmp_path / "5.png")
    for model in (predictor, load(linear(), **DIGITS)):
        with ExitStack() as stack:
            opened = [stack.enter_context(Image.open(file)) for file in sorted(tmp_path.iterdir())]
            assert np.array_equal(model.log_probabilities(opened), model.log_probabilities(tmp_path))


def test_no_images_have_no_rows(predictor):
    assert predictor.predict([]) == []
    assert predictor.log_probabilities(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 3)
    assert predictor.features([]).shape == (0, 512)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3)), "an array of float64 is no image: convert it to uint8"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"an array of shape \(2, 8, 8, 4\) holds no images"),
        (np.zeros(8, np.uint8), r"an array of shape \(8,\) holds no images"),
        (np.zeros((2, 0, 8, 3), np.uint8), r"shape \(2, 0, 8, 3\) has images without pixels"),
        (torch.zeros(8, 8), r"a tensor of shape \(8, 8\) holds no images"),
        (torch.zeros(2, 8, 8, 3), r"a tensor of shape \(2, 8, 8, 3\) holds no images"),
        (torch.full((1, 3, 8, 8), 255.0), "floats from 255 to 255 is no image: pixels are from 0 to 1"),
        (torch.full((1, 3, 8, 8), torch.nan), "floats from nan to nan"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "a tensor of torch.int64 is no image"),
        ([1, 2], "a int in the list is no image"),
        ([np.zeros((2, 8, 8), np.uint8)], r"an entry of the list of images has shape \(2, 8, 8\)"),
        ({"a": 1}, "a dict is not understood as images. Give a source such as a folder"),
        ("nowhere", "There is no source 'nowhere'"),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_give(predictor, images, message):
    with pytest.raises(DataError, match=message):
        predictor.predict(images)


def test_images_that_were_decoded_for_other_channels_are_refused(predictor, photos):
    images = decode_shard(open_source(photos, labeled=False), 0, load(linear(), **DIGITS).format)
    with pytest.raises(ModelError, match="pets takes images with 3 channels and was given 1"):
        predictor.predict(images)


def test_unreadable_images_are_counted_and_the_first_is_named(predictor, photos, tmp_path):
    whole = (photos / "0.png").read_bytes()
    for name, content in (("a", whole), ("b", b""), ("c", whole[:2000]), ("d", whole)):
        (tmp_path / f"{name}.png").write_bytes(content)
    message = r"2 of the first 4 images of '.*' cannot be read, first 'b\.png': the file is empty"
    for method in (predictor.predict, predictor.predict_proba, predictor.features):
        with pytest.raises(DataError, match=message):
            method(tmp_path)
    with (
        Image.open(tmp_path / "c.png") as cut_short,
        pytest.raises(DataError, match=r"1 of the first 1 images of 'the given images' .* first '0': damaged"),
    ):
        predictor.predict(cut_short)
    with pytest.raises(DataError, match=r"first '.*b\.png': the file is empty"):
        predictor.predict(tmp_path / "b.png")


def test_only_the_images_of_one_shard_are_in_memory(monkeypatch):
    predictor, alive = load(linear(), **DIGITS), []

    def decode(*arguments):
        gc.collect()
        assert all(images() is None for images in alive)
        images = decode_shard(*arguments)
        alive.append(weakref.ref(images.pixels))
        return images

    monkeypatch.setattr(image_inputs, "decode_shard", decode)
    gc.freeze()  # what is there already need not be looked through again and again
    try:
        assert len(predictor.predict(grays(2100))) == 2100
    finally:
        gc.unfreeze()
    assert len(alive) == 3


# Features


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050"]
)
def test_features_are_those_that_timm_gives_without_a_classifier(name, photos):
    torch.manual_seed(0)
    size = 80 if name == "test_vit" else SIZE  # a multiple of its patches
    fixed = {"img_size": size} if name == "test_vit" else {}
    net = timm.create_model(name, num_classes=4, **fixed).eval()
    bare = timm.create_model(name, num_classes=0, **fixed).eval()
    bare.load_state_dict(net.state_dict(), strict=False)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    predictor = load(net, classes=list("abcd"), size=size, mean=mean, std=std)
    edge = size + 32
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (3, 3, edge, edge), dtype=np.uint8))
    with torch.no_grad():
        expected = bare(Normalize(mean, std)(pixels[:, :, 16:-16, 16:-16] / 255))
    features = predictor.features(pixels)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["tiny_resnet", "resnet_small_20", "wrn_16_2", "efficientnet_small_b0"])
def test_the_last_layer_makes_the_answers_from_the_features(tmp_path, name):
    predictor = load(save_model(tmp_path, size=32, name=name))
    pixels = np.random.default_rng(5).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        logits = predictor.classifier.net.get_classifier()(torch.from_numpy(predictor.features(pixels)))
    np.testing.assert_allclose(logits.log_softmax(dim=1), predictor.log_probabilities(pixels), atol=1e-5)


def test_a_module_without_features_says_which_methods_it_lacks():
    with pytest.raises(ModelError, match=r"Sequential gives no features: .* lacks forward_features\(x\)"):
        load(linear(), **DIGITS).features(grays())

    class Unpooled(nn.Module):
        def forward(self, x):
            return -x[:, 0, 0, :2]

        def forward_features(self, x):
            return x

        def forward_head(self, x, pre_logits=False):
            return x if pre_logits else x[:, 0, 0, :2]

    with pytest.raises(ModelError, match=r"features of shape \(5, 1, 8, 8\); one row per image"):
        load(Unpooled().eval(), classes=("a", "b"), size=8, channels=1).features(grays())


# Modules


def test_mean_and_std_normalize_as_a_layer_of_the_module_would():
    mean, std = (0.3,), (0.7,)
    inside = load(nn.Sequential(Normalize(mean, std), linear()).eval(), **DIGITS)
    outside = load(linear(), **DIGITS, mean=mean, std=std)
    assert np.array_equal(inside.log_probabilities(grays()), outside.log_probabilities(grays()))
    assert outside.name == "Sequential"
    pixels = torch.rand(2, 1, 8, 8, requires_grad=True)
    outside.unit(pixels).sum().backward()
    weight = next(linear().parameters()).sum(dim=0).view(8, 8) / 0.7
    torch.testing.assert_close(pixels.grad, weight.expand(2, 1, 8, 8))
    prints = {load(linear(), **DIGITS, mean=(m,), std=(0.5,)).fingerprint for m in (0.4, 0.5)}
    assert len(prints | {load(linear(), **DIGITS).fingerprint}) == 3
    assert load(linear(), **DIGITS).fingerprint == load(linear(), **DIGITS).fingerprint


class Chosen(nn.Module):
    """Gives NaN for white images, and one class too few for more than four images."""

    def forward(self, pixels):
        logits = pixels.flatten(1)[:, :10].log()
        white = (pixels == 1).flatten(1).all(dim=1)
        logits = torch.where(white[:, None], torch.nan, logits)
        return logits[:, :9] if len(pixels) > 4 else logits


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (linear(), {"classes": ()}, "Sequential has no classes; give the name of each output"),
        (linear(), {"classes": "0123456789"}, "classes is the text '0123456789'; give a list of names"),
        (linear(), {"classes": ["a", *"bcdefghi", "a"]}, "the class 'a' more than once"),
        (linear(), {"classes": tuple("01234")}, r"answers 2 images with shape \(2, 10\), and 5 classes are named"),
        (linear().train(), {}, r"The model Sequential is in training mode.*Call eval\(\) on it first"),
        (nn.Sequential(nn.Dropout(), linear()).train().eval().append(nn.Dropout()), {}, "in training mode"),
        (linear(), {"mean": (0.5,)}, "Sequential has mean without std; give both"),
        (linear(), {"mean": (0.5,) * 3, "std": (0.5,) * 3}, r"for 1 channels; give one value per channel"),
        (linear(), {"mean": (0.5,), "std": (0.0,)}, "each std above 0"),
        (nn.Sequential(linear(), nn.Softmax(dim=1)).eval(), {}, "gives probabilities"),
        (nn.Sequential(linear(), nn.Threshold(torch.inf, torch.nan)).eval(), {}, "numbers that are not finite"),
        (nn.Sequential(linear(), nn.Linear(10, 10).to("meta")).eval(), {}, r"tried with images .* on cpu and failed"),
        (linear().to("meta"), {}, "Sequential is on the device 'meta' and holds no numbers"),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_with_the_reason(module, changes, message):
    with pytest.raises(ModelError, match=message):
        load(module, **{**DIGITS, **changes})


def test_answers_that_become_useless_are_one_clear_error():
    pixels = grays(3)
    pixels[1] = 255
    predictor = load(Chosen().eval(), **DIGITS)
    assert len(predictor.predict(pixels[[0, 2]])) == 2
    with pytest.raises(ModelError, match=r"Chosen answers 1 of 3 images with numbers that are not finite, .* '1'\."):
        predictor.predict(pixels)
    with pytest.raises(ModelError, match=r"first the image number 1\. Check its weights"):
        predictor.log_probabilities_of_views(torch.from_numpy(pixels)[:, None])
    with pytest.raises(ModelError, match=r"Chosen answers 5 images with shape \(5, 9\), and 10 classes are named"):
        predictor.predict(grays(5))


def test_a_module_that_is_trained_afterwards_is_refused_until_it_is_in_evaluation_mode_again():
    module = linear()
    predictor = load(module, **DIGITS)
    before = predictor.predict_proba(grays())
    module.train()
    for ask in (
        predictor.predict,
        lambda pixels: predictor.log_probabilities_of_views(torch.from_numpy(pixels)[:, None]),
    ):
        with pytest.raises(ModelError, match="in training mode"):
            ask(grays())
    module.eval()
    assert np.array_equal(predictor.predict_proba(grays()), before)


def test_a_module_is_used_where_it_lies():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10)).eval()
    predictor = load(module, **DIGITS)
    assert predictor.device == torch.device("cpu")
    module.to("meta")
    assert predictor.device == torch.device("meta")
    assert (
        Predictor.of_module(nn.Flatten().eval(), classes=list(map(str, range(64))), size=8, channels=1).device.type
        == "cpu"
    )


# Predictors as teachers


def test_a_predictor_answers_as_a_teacher_does(folder, predictor):
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, 110, 110), dtype=torch.uint8)
    sizes = torch.tensor([[104, 104], [104, 110], [107, 104]])
    logits = predictor(pixels, sizes)
    assert torch.equal(logits, Teacher(predictor.classifier)(pixels, sizes))
    assert predictor.format == Teacher(predictor.classifier).format
    assert not logits.is_inference()
    student = create_classifier("tiny_resnet", classes=CLASSES, channels=3, size=SIZE)
    (-(logits.softmax(dim=1) * student(pixels[:, :, :SIZE, :SIZE]).log_softmax(dim=1)).sum()).backward()
    assert not any(parameter.requires_grad for parameter in predictor.classifier.parameters())
    assert not predictor.classifier.training
    with pytest.raises(ModelError, match="pets takes images with 3 channels and was given 1"):
        predictor(pixels[:, :1], sizes)


def test_the_public_names_are_the_same_objects():
    assert noisystudent.load is load
    assert noisystudent.Predictor is Predictor
    assert re.search(r"classes: .*\n\s+size: ", load.__doc__)
