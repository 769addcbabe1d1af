"""The noise corruptions: each value against the published formula, and the noise against its distribution."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest, poisson

from corruption_references import SEED, as_bytes, as_image, assert_close, images, normals, uniforms
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.tables import SEVERITIES, level_of
from noisystudent.noise.counter_rng import CounterRng

INDEX = torch.tensor([40, 3])


def flat(level: int, size: int = 128) -> torch.Tensor:
    return torch.full((1, 3, size, size), level, dtype=torch.uint8)


def reference(name: str, image: np.ndarray, level: float, numbers: np.ndarray) -> np.ndarray:
    """The published formulas, for values [S, S, C] from 0 to 1 and one uniform number per value."""
    match name:
        case "gaussian_noise":
            return as_bytes(image + level * normals(numbers))
        case "speckle_noise":
            return as_bytes(image + image * level * normals(numbers))
        case "shot_noise":
            return as_bytes(poisson.ppf(numbers, image * level).clip(0) / level)
        case _:
            assert name == "impulse_noise"
            return as_bytes(np.where(numbers < level / 2, 1.0, np.where(numbers < level, 0.0, image)))


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise", "impulse_noise"])
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", [32, 224])
def test_noise_matches_the_published_formula_with_the_same_numbers(name, severity, size):
    clean = images(2, size)
    given = corrupt(clean, name, severity, index=INDEX, seed=SEED)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        numbers = uniforms(name, severity, index, image.numel()).reshape(3, size, size).transpose(1, 2, 0)
        level = level_of(name, severity, size)[0]
        assert_close(changed, reference(name, as_image(image), level, numbers), apart=0.002)


def test_random_fields_are_uniform_and_normal():
    fields = RandomFields(CounterRng(0, "test"), torch.arange(3))
    assert kstest(fields.uniform(20_000).flatten().numpy(), "uniform").pvalue > 0.001
    drawn = fields.normal(200, 100)
    assert drawn.shape == (3, 200, 100)
    assert kstest(drawn.flatten().numpy(), "norm").pvalue > 0.001
    torch.testing.assert_close(fields.uniform(7, first=5), fields.uniform(12)[:, 5:], rtol=0, atol=0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_and_speckle_noise_have_the_published_deviation(severity):
    # At a level of 128 the smallest deviations are hardly clipped; truncation subtracts half a level on average.
    for name, factor in (("gaussian_noise", 1.0), ("speckle_noise", 128 / 255)):
        sigma = level_of(name, severity, 32)[0]
        given = corrupt(flat(128), name, severity, index=INDEX[:1], seed=SEED, table=32).double() + 0.5
        assert float(given.mean()) == pytest.approx(128, abs=4 * 255 * sigma / given.numel() ** 0.5 + 0.01)
        assert float(given.std()) == pytest.approx(255 * sigma * factor, rel=0.015)


@pytest.mark.parametrize("photons", [(1, 224), (3, 32), (5, 32)])
def test_shot_noise_has_the_mean_and_variance_of_poisson(photons):
    severity, table = photons
    (count,) = level_of("shot_noise", severity, table)
    given = corrupt(flat(100), "shot_noise", severity, index=INDEX[:1], seed=SEED, table=table).double()
    distribution = poisson(100 / 255 * count)
    levels = np.floor(np.minimum(np.arange(2 * count) / count, 1) * 255)
    probabilities = distribution.pmf(np.arange(2 * count))
    mean = (levels * probabilities).sum()
    variance = ((levels - mean) ** 2 * probabilities).sum()
    assert float(given.mean()) == pytest.approx(mean, abs=4 * (variance / given.numel()) ** 0.5)
    assert float(given.var()) == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_is_half_salt_half_pepper_independently_per_value(severity):
    (fraction,) = level_of("impulse_noise", severity, 224)
    given = corrupt(flat(77, 224), "impulse_noise", severity, index=INDEX[:1], seed=SEED)
    salt, pepper = int((given == 255).sum()), int((given == 0).sum())
    assert binomtest(salt + pepper, given.numel(), fraction).pvalue > 0.001
    assert binomtest(salt, salt + pepper, 0.5).pvalue > 0.001
    assert int((given == 77).sum()) == given.numel() - salt - pepper
    hit = (given[0] != 77).double()
    whole = float(hit.prod(dim=0).mean())  # all three channels of a pixel: the cube of the fraction
    assert whole == pytest.approx(fraction**3, abs=5 * (fraction**3 / 224**2) ** 0.5)


def test_shot_noise_preserves_black_and_does_not_darken_white_by_rounding():
    assert int(corrupt(flat(0), "shot_noise", 5, index=INDEX[:1], seed=SEED, table=224).max()) == 0
    bright = corrupt(flat(255), "shot_noise", 1, index=INDEX[:1], seed=SEED, table=32)
    assert int(bright.max()) == 255
