"""Batches as a pure function of the step: streams of labeled and pseudo-labeled images, collated and augmented.

Nothing here has state that matters, so a resumed stage sees the same images with the same noise in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.data.images import Images
from noisystudent.errors import SettingsError
from noisystudent.noise.custom import CustomAugmentation
from noisystudent.noise.mixing import Mixing, partners, step_keys
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.training.sampler import ShuffleSampler

Ints = npt.NDArray[np.int64]

LABELED, PSEUDO, UNLABELED = "labeled", "pseudo", "unlabeled"  # names of the streams; they seed the samples' order


@dataclass(frozen=True)
class SampleIndices:
    """Which samples of a stream a batch holds: int64 [B] each, enough to reproduce the samples and their noise.

    ``positions`` index the samples of one epoch, in which each copy of an image counts on its own. ``epochs`` say how
    many whole epochs of the stream came before.
    """

    epochs: Ints
    positions: Ints

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: Ints) -> SampleIndices:
        """The indices in ``rows`` (int64 [M]), in that order."""
        return SampleIndices(self.epochs[rows], self.positions[rows])

    @classmethod
    def joined(cls, parts: Sequence[SampleIndices]) -> SampleIndices:
        """The samples of several batches, one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("epochs", "positions")))


@dataclass(frozen=True)
class RawBatch:
    """Images before noise: pixels uint8 [B, C, H, W] on a canvas, sizes int64 [B, 2], targets float32 [B, K]."""

    pixels: Tensor
    sizes: Tensor
    targets: Tensor

    def take(self, rows: Ints) -> RawBatch:
        """The samples in ``rows`` (int64 [M]), in that order."""
        chosen = torch.from_numpy(rows)
        return RawBatch(self.pixels[chosen], self.sizes[chosen], self.targets[chosen])

    def to(self, device: torch.device) -> RawBatch:
        """The same samples on another device."""
        return RawBatch(self.pixels.to(device), self.sizes.to(device), self.targets.to(device))


class BatchStream(Protocol):
    """Samples of one kind, of which every batch holds ``count``; its length is the number of samples per epoch."""

    @property
    def name(self) -> str:
        """The name of the stream, such as ``labeled``."""

    @property
    def count(self) -> int:
        """Samples per step."""

    def __len__(self) -> int: ...

    def indices(self, step: int) -> SampleIndices:
        """The samples in the batch of 0-based ``step``; every epoch holds every position once."""

    def fetch(self, indices: SampleIndices) -> RawBatch:
        """The images and their targets, on the device; equal indices give equal results."""


@dataclass(frozen=True)
class ImageBuffer:
    """Decoded images on the device: pixels uint8 [N, C, H, W] on a common canvas, valid sizes int64 [N, 2]."""

    pixels: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


def make_buffer(sources: Sequence[Images], device: torch.device) -> ImageBuffer:
    """Several sources' images, one after another on the device, on one canvas that is large enough for all."""
    height = max(images.pixels.shape[2] for images in sources)
    width = max(images.pixels.shape[3] for images in sources)
    shape = (sum(map(len, sources)), sources[0].pixels.shape[1], height, width)
    pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
    first = 0
    for images in sources:
        region = pixels[first : first + len(images), :, : images.pixels.shape[2], : images.pixels.shape[3]]
        region.copy_(torch.from_numpy(images.pixels))
        first += len(images)
    sizes = torch.cat([torch.from_numpy(images.sizes.astype(np.int64)) for images in sources])
    return ImageBuffer(pixels, sizes.to(device))


class InMemoryStream:
    """A stream of images that are decoded on the device; ``rows`` names each as often as it is shown per epoch."""

    def __init__(self, name: str, buffer: ImageBuffer, targets: Tensor, rows: Ints, count: int, *, seed: int) -> None:
        """``targets`` float32 [N, K] has a row for every image in ``buffer``; ``rows`` int64 [M], M at least 1."""
        self.name, self.count = name, count
        self.buffer, self.targets, self.rows = buffer, targets, rows
        self._sampler = ShuffleSampler(len(rows), seed=seed, stream=name)

    def __len__(self) -> int:
        return len(self.rows)

    def indices(self, step: int) -> SampleIndices:
        """The samples in the batch of 0-based ``step``."""
        return SampleIndices(*self._sampler.batch(step, self.count))

    def fetch(self, indices: SampleIndices) -> RawBatch:
        """The images and targets at ``indices``, gathered on the device."""
        rows = torch.from_numpy(self.rows[indices.positions]).to(self.buffer.pixels.device)
        return RawBatch(self.buffer.pixels.index_select(0, rows), self.buffer.sizes[rows], self.targets[rows])


def collate(parts: Sequence[RawBatch]) -> RawBatch:
    """The samples of several streams, one after another, on a canvas that is large enough for all."""
    if len(parts) == 1:
        return parts[0]
    height, width = (max(part.pixels.shape[axis] for part in parts) for axis in (2, 3))
    return RawBatch(
        torch.cat([_padded(part.pixels, height, width) for part in parts]),
        torch.cat([part.sizes for part in parts]),
        torch.cat([part.targets for part in parts]),
    )


def _padded(pixels: Tensor, height: int, width: int) -> Tensor:
    missing = (0, width - pixels.shape[3], 0, height - pixels.shape[2])
    return F.pad(pixels, missing) if any(missing) else pixels


@dataclass(frozen=True)
class Batch:
    """What the model and the objective see in one micro-step; labeled rows come first.

    ``pixels``: uint8 [B, C, S, S] after input noise; ``targets``: target probabilities, float32 [B, K]; ``labeled``:
    the number of labeled rows; ``step``: the 0-based optimizer step; ``teacher_logits``: the logits of M teachers for
    the R rows on which the objective needs them, float32 [R, M, K], or None.

    A batch of an online student has targets for its labeled rows alone, and strong views of U unlabeled images last.
    ``positions``, int64 [U], say which images of an epoch these are. Their weak views come before them, or are in
    ``for_average``, uint8 [U, C, S, S], for the averaged weights to answer.
    """

    pixels: Tensor
    targets: Tensor
    labeled: int
    step: int
    teacher_logits: Tensor | None = None
    positions: Tensor | None = None
    for_average: Tensor | None = None


@dataclass(frozen=True)
class BatchSharding:
    """How a step's batch is split: every process of ``group`` takes its share, as ``micro_batches`` in turn."""

    group: ProcessGroup = SINGLE
    micro_batches: int = 1

    @property
    def count(self) -> int:
        """The number of shares of a batch: processes times micro-batches."""
        return self.group.world_size * self.micro_batches

    def check(self, streams: Sequence[BatchStream]) -> None:
        """Raises ``SettingsError`` unless every stream's samples split evenly."""
        for stream in streams:
            if stream.count % self.count:
                raise SettingsError(
                    f"a step has {stream.count} {stream.name} images, which {self.group.world_size} processes with "
                    f"{self.micro_batches} micro-batches each cannot share evenly; change train.batch_size, "
                    f"train.ratio or train.grad_accum_steps so that {self.count} divides the images of each part."
                )

    def local_rows(self, count: int, micro_batch: int) -> Ints:
        """The rows among a stream's ``count`` per step that are this process's in ``micro_batch``: int64 [M]."""
        return np.arange(self.group.rank * self.micro_batches + micro_batch, count, self.count)


UNSHARDED = BatchSharding()


class ImageNoise(Protocol):
    """What makes a model's input of stored images; equal epochs and indices give equal views.

    ``size``: edge of the views in pixels; ``strength``: how strong the noise is, 0 for the plain view.
    """

    size: int
    strength: float

    def __call__(self, pixels: Tensor, sizes: Tensor, epoch: Tensor, index: Tensor) -> Tensor:
        """Views uint8 [B, C, size, size] of canvases uint8 [B, C, H, W] with valid (height, width) [B, 2]."""


class BatchLoader:
    """Batches as a pure function of the micro-step: every stream's samples one after another, augmented."""

    def __init__(
        self,
        streams: Sequence[BatchStream],
        noise: ImageNoise,
        *,
        unlabeled_noise: ImageNoise | None = None,
        custom_noise: CustomAugmentation | None = None,
        mixing: Mixing | None = None,
        sharding: BatchSharding = UNSHARDED,
    ) -> None:
        """The stream named ``labeled``, if any, comes first; ``custom_noise`` acts after ``noise``, ``mixing`` last.

        ``unlabeled_noise`` acts instead of ``noise`` on the other streams; None: ``noise`` acts on all.
        Raises ``SettingsError`` when ``sharding`` cannot split the streams' samples evenly.
        """
        sharding.check(streams)
        self.streams, self.sharding = tuple(streams), sharding
        self.noise, self.unlabeled_noise, self.custom_noise, self.mixing = noise, unlabeled_noise, custom_noise, mixing
        # Copies of one image are different positions, so each gets its own noise; streams must not overlap either.
        self._starts = [int(start) for start in np.cumsum([0, *(len(stream) for stream in streams)])[:-1]]

    @property
    def size(self) -> int:
        """Samples per step, over all processes and micro-batches."""
        return sum(stream.count for stream in self.streams)

    def __call__(self, micro_step: int) -> Batch:
        """The share of a step's batch that this process trains on in 0-based ``micro_step``."""
        return self.several([micro_step])[0]

    def several(self, micro_steps: Sequence[int]) -> list[Batch]:
        """The batches of some micro-steps, the same as one by one; the noise of all is computed at once."""
        steps = [micro_step // self.sharding.micro_batches for micro_step in micro_steps]
        if self.custom_noise or self.mixing:  # these act on a whole batch, before it is split
            by_step = [self.indices(step) for step in steps]
            mixed = zip(micro_steps, by_step, self._augment_steps(by_step), strict=True)
            views = [self._mixed(micro_step, by_stream, *whole) for micro_step, by_stream, whole in mixed]
        else:
            views = self._augment_steps([self.local_indices(micro_step) for micro_step in micro_steps])
        parts = zip(steps, views, strict=True)
        return [Batch(pixels, targets, self.labeled, step) for step, (pixels, targets) in parts]

    @property
    def labeled(self) -> int:
        """The number of labeled samples in a micro-step; they come first."""
        return sum(stream.count for stream in self.streams if stream.name == LABELED) // self.sharding.count

    def local_rows(self, micro_step: int) -> Ints:
        """The rows of a step's whole batch that are this process's in ``micro_step``: int64 [B]."""
        starts = np.cumsum([0, *(stream.count for stream in self.streams)])
        by_stream = [self._local_rows(stream, micro_step) for stream in self.streams]
        return np.concatenate([start + rows for start, rows in zip(starts, by_stream, strict=False)])

    def local_indices(self, micro_step: int) -> tuple[SampleIndices, ...]:
        """The samples of this process in ``micro_step``, stream by stream."""
        whole = self.indices(micro_step // self.sharding.micro_batches)
        if self.sharding.count == 1:
            return whole
        return tuple(
            indices.take(self._local_rows(stream, micro_step))
            for stream, indices in zip(self.streams, whole, strict=True)
        )

    def _local_rows(self, stream: BatchStream, micro_step: int) -> Ints:
        return self.sharding.local_rows(stream.count, micro_step % self.sharding.micro_batches)

    def indices(self, step: int) -> tuple[SampleIndices, ...]:
        """The samples of the whole batch of 0-based ``step``, stream by stream."""
        return tuple(stream.indices(step) for stream in self.streams)

    def augment(self, by_stream: Sequence[SampleIndices]) -> tuple[Tensor, Tensor]:
        """Images under input noise, uint8 [B, C, S, S], and targets [B, K]; equal indices give equal results."""
        raw = collate(self.fetch(by_stream))
        arguments = (raw.pixels, raw.sizes, *self.noise_keys(by_stream))
        if self.unlabeled_noise is None:
            return self.noise(*arguments), raw.targets
        counts = zip(self.streams, map(len, by_stream), strict=True)
        labeled = sum(count for stream, count in counts if stream.name == LABELED)
        parts = (
            self.noise(*(argument[:labeled] for argument in arguments)),
            self.unlabeled_noise(*(argument[labeled:] for argument in arguments)),
        )
        return torch.cat(parts), raw.targets

    def _augment_steps(self, by_step: Sequence[Sequence[SampleIndices]]) -> list[tuple[Tensor, Tensor]]:
        """Images under input noise and targets, step by step."""
        counts = [len(indices) for indices in by_step[0]]
        both = self.augment(joined_steps(by_step))
        pixels, targets = (rows_of_steps(rows, counts, len(by_step)) for rows in both)
        return list(zip(pixels, targets, strict=True))

    def fetch(self, by_stream: Sequence[SampleIndices]) -> list[RawBatch]:
        """The images and targets of each stream, before noise."""
        return [stream.fetch(indices) for stream, indices in zip(self.streams, by_stream, strict=True)]

    def noise_keys(self, by_stream: Sequence[SampleIndices]) -> tuple[Tensor, Tensor]:
        """The epoch and the index that each image's noise is drawn from, int64 [B] each.

        They stay on the CPU, where the noise groups images by operation without waiting for an accelerator.
        """
        positions = [start + indices.positions for start, indices in zip(self._starts, by_stream, strict=True)]
        epochs = np.concatenate([indices.epochs for indices in by_stream])
        return torch.from_numpy(epochs), torch.from_numpy(np.concatenate(positions))

    def _mixed(
        self, micro_step: int, by_stream: Sequence[SampleIndices], pixels: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Custom noise and mixing of the batch of all processes and micro-batches, and the share of this one."""
        step = micro_step // self.sharding.micro_batches
        if self.custom_noise:
            pixels = self.custom_noise(pixels, step)
        if self.mixing:
            partner = partners([stream.count for stream in self.streams])
            keys = step_keys(step, len(pixels)) if self.mixing.per_step else self.noise_keys(by_stream)
            pixels, targets = self.mixing(pixels, targets, partner, *keys)
        if self.sharding.count == 1:
            return pixels, targets
        rows = torch.from_numpy(self.local_rows(micro_step)).to(pixels.device)
        return pixels[rows], targets[rows]


def joined_steps(by_step: Sequence[Sequence[SampleIndices]]) -> list[SampleIndices]:
    """The samples of several steps, stream by stream; in each stream, one step after another."""
    return [SampleIndices.joined(of_stream) for of_stream in zip(*by_step, strict=True)]


def rows_of_steps(rows: Tensor, counts: Sequence[int], steps: int) -> list[Tensor]:
    """The rows of each step, of rows in the order of ``joined_steps``; ``counts`` are those of a step by stream."""
    if steps == 1:
        return [rows]
    parts = torch.split(rows, [steps * count for count in counts])
    by_stream = [torch.split(part, count) for part, count in zip(parts, counts, strict=True)]
    return [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*by_stream, strict=True)]
