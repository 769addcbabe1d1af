#!/usr/bin/env python3
"""Writes configs/paper/: one file of settings per published model of Noisy Student, from the one table below.

    python scripts/paper_configs.py

Sources: [P] Xie et al. 2020 (arXiv 1911.04252): the text of version 1, the tables of version 2. [C] the released code
(github.com/google-research/noisystudent), with its scripts train.sh and svhn/train.sh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs" / "paper"

LABELED, UNLABELED = 1_281_167, 130_000_000  # images of ImageNet, and of the balanced unlabeled set [P]
BATCH = 2_048  # labeled images of a step [P]
RATE = 0.016  # learning rate per 256 labeled images [P, C]
WARMUP_EPOCHS = 5  # [C]
DECAY, DECAYS = 0.97, 146  # of the staircase: one every 2.4 of 350 epochs, or every 4.8 of 700 [P, C]


@dataclass(frozen=True)
class Published:
    """A published model: its size and dropout [C: efficientnet_params], epochs, ratio and magnitude [C: train.sh]."""

    name: str
    size: int
    dropout: float
    epochs: int
    ratio: int
    magnitude: int  # of RandAugment with two operations; 0: crop and flip alone


TABLE = (
    Published("b0", 224, 0.2, 700, 1, 0),
    Published("b1", 240, 0.2, 700, 3, 0),
    Published("b2", 260, 0.3, 700, 3, 6),
    Published("b3", 300, 0.3, 700, 3, 12),
    Published("b4", 380, 0.4, 700, 3, 15),
    Published("b5", 456, 0.4, 350, 3, 18),
    Published("b6", 528, 0.5, 350, 3, 24),
    Published("b7", 600, 0.5, 350, 3, 27),
)
CHAIN = ("b7", "b7", "l2", "l2", "l2")  # teacher, the improved B7, and three iterations of L2 [P]
L2 = Published("l2", 475, 0.5, 350, 14, 27)  # sizes and epochs [P, version 1]
L2_RATIOS = (3, 14, 14, 28)  # of B7 [C: train.sh], then of the three iterations [P, table of iterative training]
FINE_TUNED_SIZE, FINE_TUNED_EPOCHS = 800, 1.5  # [P]

SVHN_LABELED, SVHN_PER_CLASS = 69_257, 53_113  # 73,257 less 4,000 for development; 531,131 / 10 [C: svhn/train.sh]
SVHN_BATCH, SVHN_RATIO, SVHN_STEPS = 128, 5, 109_474  # [C: svhn/train.sh]


def common(epochs: float, *, weight_decay: str = "0.00001") -> str:
    """The lines of ``train`` that all published trainings share."""
    return f"""\
  optimizer: rmsproptf  # decay 0.9, momentum 0.9, eps 1e-3 [P, C]
  learning_rate: {RATE}  # per 256 labeled images [P, C]
  rate_per_256: true
  schedule: staircase  # x0.97, 146 times [P, C]
  warmup: {WARMUP_EPOCHS / epochs:.6f}  # 5 epochs [C]
  weight_decay: {weight_decay}  # not on batch normalization [C]
  ema_decay: 0.9999  # with the official warm-up [C]
  clip: 0  # no clipping [C]
"""


SELECTION = """\
selection:  # the recipe selects once, in round 1 [C: README]
  threshold: 0.3  # [P]
  per_class: {per_class}  # [{source}]
  max_copies: 65535  # no limit [C: filter_unlabel.py]
"""
OBJECTIVE = """\
objective: {weighting: ratio}  # Ll + r Lu; soft labels, T 1 and smoothing 0.1 are the recipe's [C: main.py]
"""
POLICY = "policy: released  # Contrast as the code computes it [C: randaugment.py]"
STATISTICS = "batch_norm_momentum: 0.01"  # TensorFlow's 0.99 [C]


def of_member(model: Published) -> str:
    """The settings of B0 to B7: a teacher and a student of the same model, without iterative training."""
    noise = f"2 x M={model.magnitude}" if model.magnitude else "none"
    policy = f"\n  {POLICY}" if model.magnitude else ""
    return f"""\
# EfficientNet-{model.name.upper()} as published, one round with a teacher of the same model (Xie et al. 2020). ImageNet
# and 130 million unlabeled images need accelerators; train.grad_accum_steps splits a batch that does not fit.
#   noisystudent run --config configs/paper/{model.name}.yaml --labeled L --unlabeled U --test T --out runs/{model.name}
# [P]: the paper. [C]: the released code. Written by scripts/paper_configs.py.
recipe: paper
data: {{size: {model.size}}}  # [C: efficientnet_params]
model: {{family: "efficientnet:{model.name}", {STATISTICS}}}  # TensorFlow's momentum 0.99 [C]
rounds: {{count: 1, control: steps}}  # the paper's supervised models take as many steps [P]
noise:
  preset: paper-{model.name}  # RandAugment {noise}, dropout {model.dropout}, stochastic depth 0.2 [C: train.sh]{policy}
train:
  batch: labeled
  batch_size: {BATCH}  # labeled images; 512 and 1,024 gave the same [P]
  ratio: {model.ratio}  # pseudo-labeled images per labeled one [C: train.sh]
  epochs: {model.epochs}  # of the labeled images [P, C]
{common(model.epochs)}{SELECTION.format(per_class=130_000, source="P")}{OBJECTIVE}"""


def of_l2() -> str:
    """The settings of L2: the chain of four rounds that ends with it."""
    ratios = ", ".join(map(str, L2_RATIOS))
    return f"""\
# EfficientNet-L2 as published: B7 teaches a better B7, which teaches L2, which teaches itself twice (Xie et al. 2020).
# It then trains on at a higher resolution: l2-fine-tune.yaml. The paper took 6 days of 2,048 cores of a TPU v3.
#   noisystudent run --config configs/paper/l2.yaml --labeled L --unlabeled U --test T --out runs/l2
# [P]: the paper. [C]: the released code. Written by scripts/paper_configs.py.
recipe: paper
data: {{size: {L2.size}}}  # [P]; B7 has 600 px of its own
model: {{family: "efficientnet:{",".join(CHAIN)}", {STATISTICS}}}  # [P]; TensorFlow's momentum 0.99 [C]
rounds: {{count: {len(CHAIN) - 1}, control: steps}}  # the paper's supervised models take as many steps [P]
noise:
  preset: paper-l2  # RandAugment 2 x M={L2.magnitude}, dropout {L2.dropout}, stochastic depth 0.2, for B7 and L2 [P]
  {POLICY}
train:
  batch: labeled
  batch_size: {BATCH}  # labeled images [P]
  ratio: [{ratios}]  # by round: B7 [C: train.sh], then 14, 14 and 28 for L2 [P]
  epochs: {L2.epochs}  # of the labeled images [P]
{common(L2.epochs)}{SELECTION.format(per_class=130_000, source="P")}{OBJECTIVE}"""


def of_fine_tuning() -> str:
    """The settings of the last step of L2: 1.5 epochs on labeled images of 800 px without augmentation."""
    rate = RATE * DECAY ** (DECAYS - 1)
    steps = round(FINE_TUNED_EPOCHS * LABELED / BATCH)
    return f"""\
# The last step of EfficientNet-L2: {FINE_TUNED_EPOCHS} epochs on labeled images of {FINE_TUNED_SIZE} px without
# augmentation (Xie et al. 2020).
#   noisystudent train --config configs/paper/l2-fine-tune.yaml --start runs/l2/best --labeled L --out runs/l2-fine-tune
# The paper also freezes shallow layers; it publishes neither which nor the learning rate. All layers train here, at the
# rate that ends the {L2.epochs} epochs before, as with the code's flag train_last_step_num. Robustness is measured
# before this step, because it is worse after it.
# [P]: the paper. [C]: the released code. Written by scripts/paper_configs.py.
data: {{size: {FINE_TUNED_SIZE}}}  # [P]
model: {{{STATISTICS}}}  # TensorFlow's momentum 0.99 [C]
noise:  # of the model alone [P, C]
  strength: 0
  crop: none
  randaugment: false
  dropout: {L2.dropout}
  stochastic_depth: 0.2
objective: {{label_smoothing: 0.1}}  # [C]
train:
  batch_size: {BATCH}  # [P]
  epochs: {L2.epochs}  # of the schedule, of which only the first stair is used
  stop_after: {steps}  # steps in {FINE_TUNED_EPOCHS} epochs of {LABELED:,} images [P]
  optimizer: rmsproptf  # decay 0.9, momentum 0.9, eps 1e-3 [P, C]
  learning_rate: {rate:.6g}  # {RATE} x {DECAY}^{DECAYS - 1}, per 256 labeled images [C]
  rate_per_256: true
  schedule: staircase
  warmup: 0
  weight_decay: 0.00001  # [C]
  ema_decay: 0.9999  # [C]
  clip: 0  # [C]
"""


def of_svhn() -> str:
    """The settings of the released experiment with small images."""
    epochs = SVHN_STEPS * SVHN_BATCH / SVHN_LABELED
    selection = SELECTION.format(per_class=SVHN_PER_CLASS, source="C: svhn/filter_unlabel.sh")
    return f"""\
# EfficientNet-B0 on SVHN at 32 px, as released; there the teacher is 97.9% right and the student 98.6%.
#   noisystudent run --config configs/paper/svhn.yaml --labeled L --validation V --unlabeled U --test T --out runs/svhn
# [C]: the released code. Written by scripts/paper_configs.py.
recipe: paper
data: {{size: 32}}  # [C]
model: {{family: "efficientnet:b0", {STATISTICS}}}  # TensorFlow's momentum 0.99 [C]
rounds: {{count: 1, control: steps}}
noise:
  preset: svhn  # RandAugment 2 x M=5 of 4 px, 16 px hole, then a crop padded by 4 px; no flip [C: svhn/train.sh]
  {POLICY}
train:
  batch: labeled
  batch_size: {SVHN_BATCH}  # labeled images [C: svhn/train.sh]
  ratio: {SVHN_RATIO}  # pseudo-labeled images per labeled one [C: svhn/train.sh]
  epochs: {epochs:.2f}  # {SVHN_STEPS:,} steps with {SVHN_LABELED:,} labels [C: svhn/train.sh]
{common(epochs, weight_decay="0.0001")}{selection}{OBJECTIVE}"""


def files() -> Iterator[tuple[str, str]]:
    """The name and the text of every file."""
    for model in TABLE:
        yield f"{model.name}.yaml", of_member(model)
    yield "l2.yaml", of_l2()
    yield "l2-fine-tune.yaml", of_fine_tuning()
    yield "svhn.yaml", of_svhn()


if __name__ == "__main__":
    for name, text in files():
        (FOLDER / name).write_text(text, encoding="utf-8")
