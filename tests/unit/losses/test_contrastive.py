"""The contrastive loss against a published value, a sum written out, and another library's."""

import numpy as np
import pytest
import torch

from noisystudent.losses.contrastive import nt_xent, spread_of


def views(images: int = 4, width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    vectors = torch.from_numpy(np.random.RandomState(0).randn(2 * images, width))
    return vectors[:images], vectors[images:]


def by_hand(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    vectors = [vector / np.linalg.norm(vector) for vector in np.concatenate([first.numpy(), second.numpy()])]
    count, total = len(vectors), 0.0
    for view in range(count):
        partner = (view + count // 2) % count
        powers = [np.exp(vectors[view] @ vectors[other] / temperature) for other in range(count)]
        total -= np.log(powers[partner] / (sum(powers) - powers[view]))
    return total / count


def test_the_loss_has_the_known_value_and_the_released_code_twice_that():
    loss = nt_xent(*views(), 0.5)
    assert float(loss) == pytest.approx(1.98497243, abs=1e-8)
    assert 2 * float(loss) == pytest.approx(3.96994486, abs=1e-8)


@pytest.mark.parametrize(("images", "temperature"), [(2, 1.0), (4, 0.5), (7, 0.1)])
def test_the_loss_is_the_sum_written_out(images, temperature):
    assert float(nt_xent(*views(images), temperature)) == pytest.approx(by_hand(*views(images), temperature), rel=1e-9)


def test_the_released_formula_of_both_directions_gives_twice_the_loss():
    first, second = (torch.nn.functional.normalize(part, dim=1) for part in views(6, 5))
    mask = 1e9 * torch.eye(6)
    same, other = first @ first.T / 0.3 - mask, first @ second.T / 0.3
    labels = torch.arange(6)
    of_first = torch.nn.functional.cross_entropy(torch.cat([other, same], dim=1), labels)
    of_second = torch.nn.functional.cross_entropy(torch.cat([other.T, second @ second.T / 0.3 - mask], dim=1), labels)
    assert float(of_first + of_second) == pytest.approx(2 * float(nt_xent(first, second, 0.3)), rel=1e-9)


def test_the_loss_and_its_gradient_are_those_of_lightly():
    lightly = pytest.importorskip("lightly.loss", reason="needs lightly")
    pairs = [[view.clone().requires_grad_() for view in views(8, 16)] for _ in range(2)]
    ours, theirs = nt_xent(*pairs[0], 0.2), lightly.NTXentLoss(temperature=0.2)(*pairs[1])
    ours.backward()
    theirs.backward()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)
    for left, right in zip(*pairs, strict=True):
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_and_extreme_lengths_overflow_nothing(kind):
    first, second = (part.to(kind) * 1000 for part in views(5, 8))
    loss = nt_xent(first, second, 0.01)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_spread_is_1_for_even_directions_and_0_for_equal_ones():
    even = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert float(spread_of(even)) == pytest.approx(1, abs=0.02)
    assert float(spread_of(even[:1].expand(50, -1))) == pytest.approx(0, abs=1e-4)
