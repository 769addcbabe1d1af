"""Settings of the resolution fix, with the published ones by name."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from noisystudent.settings import PresetSettings
from noisystudent.training.settings import TrainSettings

RATE_IMAGES = 64  # images of a step that ``learning_rate`` is for
CLASSIFIER = "classifier"
_LAST_BLOCKS = re.compile(r"last:([1-9]\d*)")

PresetName = Literal["paper:touvron2019", "repo:fixres-v2", "paper:xie2020"]

PRESETS: dict[str, dict[str, Any]] = {
    # Touvron et al. 2019, released training of ResNet-50: 56 epochs, on the views of the test.
    "paper:touvron2019": {
        "trains": "classifier",
        "norm": "statistics",
        "views": "test",
        "epochs": 56.0,
        "optimizer": "momentum",
        "learning_rate": 1e-3,
        "drop_every": 30.0,
        "weight_decay": 1e-4,
        "label_smoothing": 0.0,
    },
    # Its second version, with a flip, weak jitter and shifted views; ResNet-50 again.
    "repo:fixres-v2": {
        "trains": "classifier",
        "norm": "statistics",
        "views": "shifted",
        "epochs": 31.0,
        "optimizer": "momentum",
        "learning_rate": 1e-3,
        "drop_every": 30.0,
        "weight_decay": 1e-4,
        "label_smoothing": 0.0,
    },
    # Xie et al. 2020: 1.5 epochs at the tail of the staircase, 0.128 * 0.97^145 for 2,048 images. How many layers stay
    # frozen is not published.
    "paper:xie2020": {
        "trains": "last:1",
        "views": "test",
        "epochs": 1.5,
        "optimizer": "rmsproptf",
        "learning_rate": 4.8e-5,
        "drop_every": 0.0,
        "weight_decay": 1e-5,
        "label_smoothing": 0.1,
        "dropout": 0.5,
        "stochastic_depth": 0.2,
    },
}
"""Values of the settings by preset."""


def _require_part(trains: str) -> str:
    if not _LAST_BLOCKS.fullmatch(trains):
        raise ValueError(f"trains is {trains!r}; give classifier, or last:N for the last N blocks as well")
    return trains


class FixSettings(PresetSettings):
    """The resolution fix: a trained model is adapted to a larger test size (Touvron et al. 2019)."""

    presets = PRESETS

    size: Literal["none", "auto"] | Annotated[int, Field(ge=8, le=4096)] = Field(
        "none",
        description="input edge in pixels for which models are fixed after their training; auto: at which objects look "
        "as large as in training; none: they are not fixed",
    )
    preset: Literal["", PresetName] = Field(
        "",
        description="a published fix by name; settings that you give take precedence over it: paper:touvron2019, "
        "repo:fixres-v2, paper:xie2020",
    )
    trains: Literal["classifier"] | Annotated[str, AfterValidator(_require_part)] = Field(
        CLASSIFIER,
        description="classifier: the last layer alone; last:N: the last N blocks as well, with their noise",
    )
    norm: Literal["statistics", "affine", "none"] = Field(
        "statistics",
        description="what of the last batch normalization adapts with trains classifier. statistics: its mean and "
        "variance; affine: its weights as well; none: nothing",
    )
    views: Literal["test", "shifted"] = Field(
        "test",
        description="what the fix trains on. test: the views of the test; shifted: these, shifted along the width, "
        "flipped with probability 0.5, with brightness, contrast and saturation changed by up to 5%",
    )
    epochs: Annotated[float, Field(gt=0)] = Field(56.0, description="how often each labeled image is shown")
    batch_size: Annotated[int, Field(ge=2)] = Field(64, description="images per step")
    optimizer: Literal["momentum", "rmsproptf"] = Field(
        "momentum", description="momentum: SGD with momentum 0.9; rmsproptf: that of Xie et al. 2020"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        1e-3, description=f"learning rate of {RATE_IMAGES} images per step; it changes in proportion to batch_size"
    )
    drop_every: Annotated[float, Field(ge=0)] = Field(
        30.0, description="epochs after which the learning rate falls to a tenth, again and again; 0: never"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-4, description="of what is trained; not applied to biases and normalization"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="smoothing of the labels")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="dropout before the classifier, with trains last:N"
    )
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="stochastic depth of the last blocks, with trains last:N"
    )
    trained_area: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="smallest share of an image that a crop of the model's training showed, from which size auto "
        "follows; auto: what its checkpoint says, and 0.08 for weights that timm publishes",
    )

    @property
    def last_blocks(self) -> int:
        """The number of blocks that are trained beside the last layer."""
        found = _LAST_BLOCKS.fullmatch(self.trains)
        return int(found[1]) if found else 0

    def training(self, labeled: int, save_every: float) -> TrainSettings:
        """The settings of the training loop.

        Args:
            labeled: the number of labeled images, of which an epoch shows each once.
            save_every: seconds between saved states.
        """
        steps = max(1, round(self.epochs * labeled / self.batch_size))
        first_lower = [round(steps * self.drop_every * number / self.epochs) for number in range(1, 1 + self._drops)]
        # The loop lowers the rate of the step after a drop.
        drops = sorted({(step - 1) / steps for step in first_lower if 0 < step < steps})
        return TrainSettings(
            steps=steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate * self.batch_size / RATE_IMAGES,
            layer_decay=1.0,
            weight_decay=self.weight_decay,
            schedule="steps",
            drops=tuple(drops),
            warmup=0.0,
            clip=0.0,
            ema_decay=0.0,
            batch_norm="batch",
            save_every=save_every,
        )

    @property
    def _drops(self) -> int:
        """How often the learning rate falls before the last epoch ends."""
        if not self.drop_every:
            return 0
        return sum(1 for number in range(1, 1000) if self.drop_every * number < self.epochs)
