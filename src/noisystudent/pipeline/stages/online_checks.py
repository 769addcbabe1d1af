"""Whether a run ends with an online student, its start, its batches, and what it cannot be combined with."""

from __future__ import annotations

from noisystudent.errors import SettingsError
from noisystudent.losses.settings import OnlineSettings
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.extensions import Extensions
from noisystudent.run_settings import RunSettings
from noisystudent.training.loader import LABELED
from noisystudent.training.settings import TrainSettings

WEAK, STRONG = "weak", "strong"  # the views in a batch


def is_online(settings: RunSettings) -> bool:
    """Whether a run ends with an online student."""
    return settings.online.method != "none"


def students_of(settings: RunSettings) -> int:
    """The number of students of a run: one per round, and the online one."""
    return settings.rounds.count + is_online(settings)


def goes_on(settings: RunSettings) -> bool:
    """Whether the online student starts from the weights of the model before it: always after rounds."""
    return settings.train.warm_start or settings.rounds.count > 0


def online_batch(train: TrainSettings, online: OnlineSettings) -> dict[str, int]:
    """Images per step by view that go forward and backward: ``train.batch_size`` in all, at least one of each.

    With ``train.batch labeled``, these are the labeled ones, and the unlabeled ones come on top. Weak views are among
    them, unless the averaged weights answer to these: then they are only predicted.
    """
    views = 1 if online.asks_average else 2
    ratio = train.ratio[-1] if isinstance(train.ratio, tuple) else train.ratio
    if train.batch == "labeled":
        labeled, unlabeled = train.batch_size, max(1, round(train.batch_size * ratio))
    else:
        unlabeled = round(train.batch_size * ratio / (1 + views * ratio))
        unlabeled = min(max(unlabeled, 1), (train.batch_size - 1) // views)
        labeled = train.batch_size - views * unlabeled
    counts = {LABELED: labeled, WEAK: unlabeled, STRONG: unlabeled}
    return {name: count for name, count in counts.items() if name != WEAK or not online.asks_average}


def images_behind(settings: RunSettings) -> int:
    """Images per step, summed over the stages that the weights of a run's last student went through."""
    train, rounds = settings.train, settings.rounds.count
    if not is_online(settings):
        return train.images_behind(rounds)
    own = sum(online_batch(train, settings.online).values())
    if not goes_on(settings):
        return own
    return own + (train.images_behind(rounds) if rounds else train.batch_size)


def check_online(settings: RunSettings, extensions: Extensions) -> None:
    """Raises ``SettingsError`` where nothing learns from the unlabeled images, or an online student cannot learn."""
    method = settings.online.method
    if method == "none":
        if not settings.rounds.count:
            raise SettingsError(
                "rounds.count is 0, so no student learns from the unlabeled images; give at least 1, or an "
                "online.method such as fixmatch."
            )
        return
    if settings.model.tune == HEAD:
        raise SettingsError(
            f"online.method {method} trains a network, and model.tune head leaves it frozen; give model.tune all, or "
            "leave the online method out."
        )
    if settings.distillation.method != "none":
        raise SettingsError(
            f"online.method {method} and distillation.method {settings.distillation.method} are two objectives of one "
            "student; leave one of them out."
        )
    if settings.noise.mixup or settings.noise.cutmix:
        raise SettingsError(
            f"online.method {method} compares two views of one image, and noise.mixup and noise.cutmix mix several; "
            "set them to 0."
        )
    if settings.runtime.sharded and settings.online.asks_average:
        raise SettingsError(
            f"online.method {method} asks the averaged weights at each step, and runtime.sharded splits them; give "
            "online.teacher student, or runtime.sharded false."
        )
    unused = {
        "objective": extensions.objective is not None,
        "noise": extensions.noise is not None,
        "select": extensions.select is not None and not settings.rounds.count,
    }
    for name, is_given in unused.items():
        if is_given:
            raise SettingsError(f"online.method {method} does not use your own {name}; leave one of the two out.")
