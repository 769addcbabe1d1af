"""A teacher's log-probabilities for decoded images, batch by batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from noisystudent.data.images import Images
from noisystudent.models.teacher import Teacher
from noisystudent.runtime.device import autocast
from noisystudent.runtime.progress import Bar


def log_probabilities(
    teacher: Teacher, images: Images, *, batch_size: int, precision: str = "float32", bar: Bar | None = None
) -> npt.NDArray[np.float32]:
    """Log of the softmax at temperature 1 for every image, in order: float32 [N, K]."""
    rows = []
    for first in range(0, len(images), batch_size):
        pixels = torch.from_numpy(images.pixels[first : first + batch_size]).to(teacher.device)
        sizes = torch.from_numpy(images.sizes[first : first + batch_size].astype(np.int64)).to(teacher.device)
        with torch.inference_mode(), autocast(teacher.device, precision):
            logits = teacher(pixels, sizes)
        rows.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
        if bar:
            bar.advance(len(pixels))
    return np.concatenate(rows) if rows else np.zeros((0, len(teacher.classes)), np.float32)
