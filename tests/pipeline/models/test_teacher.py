"""A teacher is frozen, un-noised and deterministic, whatever is done around it; on every model family."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.normalization import Normalization
from noisystudent.models.teacher import NoisedTeacher, Teacher

FAMILIES = {  # name: image size; all have dropout and stochastic depth
    "tiny_resnet": 8,
    "resnet_small_20": 16,
    "resnet_small_18": 8,
    "wrn_16_2": 16,
    "efficientnet_small_b0": 16,
    "efficientnet_b0": 72,
    "resnet18": 32,
    "resnetv2_50": 32,
    "mobilenetv3_small_050": 72,
    "vit_tiny_patch16_224": 32,
    "convnext_atto": 32,
    "regnety_002": 32,
    "swin_tiny_patch4_window7_224": 56,
}
# One family per kind of normalization and of blocks.
KINDS = {
    name: FAMILIES[name] for name in ("tiny_resnet", "efficientnet_small_b0", "resnetv2_50", "vit_tiny_patch16_224")
}


def noisy_student(name: str, size: int, channels: int = 3) -> Classifier:
    return create_classifier(
        name, classes=("a", "b", "c"), channels=channels, size=size, dropout=0.5, stochastic_depth=0.5
    )


def stored(size: int, channels: int = 3, edge: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Three images as ``data`` stores them for ``size``, of different shapes, on canvases full of noise."""
    edge = edge or (size if size <= 64 else size + 32)
    pixels = torch.randint(0, 256, (3, channels, edge + 6, edge + 6), dtype=torch.uint8)
    return pixels, torch.tensor([[edge, edge], [edge, edge + 6], [edge + 3, edge]])


@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_a_teacher_answers_the_same_whatever_happens_around_it(name, size):
    student = noisy_student(name, size).train()
    teacher = Teacher(student)
    state = {key: value.clone() for key, value in teacher._classifier.state_dict().items()}
    pixels, sizes = stored(size)
    before = teacher(pixels, sizes)

    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(2):
        F.cross_entropy(student(pixels[:, :, :size, :size]), before.softmax(dim=1)).backward()
        optimizer.step()
    student.train()
    assert teacher.train() is teacher.train(True) is teacher.eval() is teacher

    assert torch.equal(teacher(pixels, sizes), before)
    after = teacher._classifier.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    assert not any(module.training for module in teacher._classifier.modules())
    assert not any(parameter.requires_grad for parameter in teacher._classifier.parameters())
    assert before.dtype == torch.float32
    assert not before.requires_grad
    student_moved = student.state_dict()
    assert not all(torch.equal(student_moved[key], value) for key, value in state.items())


@pytest.mark.parametrize(("name", "size"), KINDS.items())
def test_the_student_beside_it_is_noisy(name, size):
    student = noisy_student(name, size)
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    for module in student.modules():  # statistics of the batch are no noise
        module.train(not isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        assert not torch.equal(student(images), student(images))
        assert torch.equal(student.eval()(images), student(images))


@pytest.mark.parametrize(("name", "size"), KINDS.items())
def test_a_noised_teacher_keeps_its_model_noise_and_its_batch_statistics(name, size):
    teacher = NoisedTeacher(noisy_student(name, size))
    state = {key: value.clone() for key, value in teacher._classifier.state_dict().items()}
    pixels, sizes = stored(size)
    answers = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        answers.append(teacher(pixels, sizes))
    assert not torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert all(torch.equal(value, state[key]) for key, value in teacher._classifier.state_dict().items())


def test_a_teacher_sees_the_center_of_the_valid_part_only():
    classifier = noisy_student("tiny_resnet", 8).eval()
    pixels, sizes = stored(8)
    with torch.no_grad():
        expected = [
            classifier(pixels[index : index + 1, :, top : top + 8, left : left + 8])
            for index, (top, left) in enumerate([(0, 0), (0, 3), (1, 0)])
        ]
    torch.testing.assert_close(Teacher(classifier)(pixels, sizes), torch.cat(expected))


def test_a_teacher_takes_the_same_part_of_images_stored_for_another_size():
    pixels_as_logits = Classifier(
        nn.Flatten(), name="none", classes=("a",), channels=1, size=96, normalization=Normalization.halves(1)
    )
    teacher = Teacher(pixels_as_logits)
    wave = 127.5 + 100 * torch.sin(torch.arange(128) / 9)
    image = ((wave[:, None] + wave[None, :]) / 2).expand(1, 1, 128, 128)  # stored for 96: 96 + 32
    own = teacher(image.round().to(torch.uint8), torch.tensor([[128, 128]]))
    torch.testing.assert_close(own.view(96, 96), image[0, 0, 16:-16, 16:-16] / 127.5 - 1, atol=0.01, rtol=0)
    for edge in (192, 320, 160):
        other = F.interpolate(image, (edge, edge), mode="bicubic", antialias=True).round().to(torch.uint8)
        logits = teacher(other, torch.tensor([[edge, edge]]))
        torch.testing.assert_close(logits, own, atol=0.05, rtol=0)


def test_logits_may_enter_a_students_loss():
    student = noisy_student("tiny_resnet", 8)
    pixels, sizes = stored(8)
    logits = Teacher(student)(pixels, sizes)
    targets = logits.softmax(dim=1)
    (-(targets * student(pixels[:, :, :8, :8]).log_softmax(dim=1)).sum()).backward()
    assert not logits.is_inference()


def test_a_student_that_holds_its_teacher_does_not_own_it():
    student = noisy_student("tiny_resnet", 8)
    count = len(list(student.parameters()))
    student.teacher = Teacher(student)
    student.train().requires_grad_(True)
    assert len(list(student.parameters())) == count
    assert not any("teacher" in key for key in student.state_dict())
    assert not student.teacher._classifier.training


def test_a_teacher_leaves_its_classifier_trainable():
    student = noisy_student("tiny_resnet", 8).train()
    Teacher(student)
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_other_channels_are_refused():
    pixels, sizes = stored(8, channels=1)
    with pytest.raises(ModelError, match="3 channels and was given 1"):
        Teacher(noisy_student("tiny_resnet", 8))(pixels, sizes)


def test_a_teacher_tells_what_it_is():
    teacher = Teacher(noisy_student("tiny_resnet", 8, channels=1)).to(torch.device("cpu"))
    assert (teacher.classes, teacher.size, teacher.channels) == (("a", "b", "c"), 8, 1)
    assert teacher.device == torch.device("cpu")
