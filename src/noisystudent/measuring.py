"""The verbs that measure robustness, as functions: one checkpoint's, and several beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import write_json
from noisystudent.config import runtime_to_predict, section_settings
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.errors import SettingsError
from noisystudent.evaluation.compare import comparison
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.natural.metrics import map_source_classes
from noisystudent.evaluation.preflight import check_suite
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import measure
from noisystudent.models.predictor import Predictor
from noisystudent.reporting.comparison import write_comparison
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter

Settings = Mapping[str, Any]
Place = str | Path


def robustness(
    *, checkpoint: Place | Predictor, source: Place, out: Place, settings: Settings | None = None, quiet: bool = False
) -> dict[str, Any]:
    """What ``evaluation.suite`` names, measured of a checkpoint on labeled images, into the folder ``out``.

    ``checkpoint`` is a folder; or text such as ``timm:resnet50.tv_in1k`` for the weights that timm publishes; or a
    ``Predictor``, such as ``Predictor.of_module`` makes of any module, whose device, precision and batches are its own
    and not those of the settings.

    Images may be of some of its classes, in any order (see ``natural.map_classes``): answers are still among all of
    them, and ``classes`` in what is returned says so. Finished pieces are taken as they are, so a killed call goes on
    where it was. Images are decoded shard by shard, again for every condition, so memory does not grow with their
    number.
    """
    predictor, dataset, evaluation = _opened(checkpoint, source, out, settings)
    return measure(predictor, dataset, evaluation, Path(out), Reporter(quiet=quiet))


def check_measurable(*, checkpoint: Place | Predictor, source: Place, out: Place, settings: Settings | None) -> None:
    """Raises what ``robustness`` would raise for its arguments, for all that is known without looking at an image."""
    predictor, _, evaluation = _opened(checkpoint, source, out, settings)
    check_suite(evaluation, predictor.classes)


def compare(
    *,
    checkpoints: Sequence[Place | Predictor],
    source: Place,
    out: Place,
    settings: Settings | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Several checkpoints' robustness on the same images, paired, with the first; into ``out`` with a page.

    Each is measured as ``robustness`` does, by default under corruptions, in a folder of its own; one that cannot be is
    told before any is. Returns what ``comparison.json`` holds; the page is ``comparison.html``.
    """
    if len(checkpoints) < 2:
        raise SettingsError(f"compare needs at least 2 checkpoints, and there are {len(checkpoints)}.")
    told = {"evaluation.suite": ["corruptions"], **(settings or {})}
    for number, checkpoint in enumerate(checkpoints, start=1):
        check_measurable(checkpoint=checkpoint, source=source, out=Path(out) / f"{number}", settings=told)
    folders = {}
    for number, checkpoint in enumerate(checkpoints, start=1):
        name = f"{number} {checkpoint.name if isinstance(checkpoint, Predictor) else checkpoint}"
        folders[name] = Path(out) / f"{number}"
        robustness(checkpoint=checkpoint, source=source, out=folders[name], settings=told, quiet=quiet)
    found = comparison(folders)
    write_json(Path(out) / "comparison.json", found)
    write_comparison(found, Path(out) / "comparison.html")
    return found


def _opened(
    checkpoint: Place | Predictor, source: Place, out: Place, settings: Settings | None
) -> tuple[Predictor, EvalDataset, EvaluationSettings]:
    """Who is measured, on what, and how."""
    if open_process_group().world_size > 1:
        raise SettingsError("evaluation.suite is measured by one process; start evaluate without torchrun.")
    if any(place.exists() and not place.is_dir() for place in (Path(out), *Path(out).parents)):
        raise SettingsError(
            f"--out {str(out)!r} is a file, or lies in one, and a suite keeps its pieces in a folder. Give another "
            "--out."
        )
    evaluation = section_settings(EvaluationSettings, "evaluation", settings)
    predictor = (
        checkpoint if isinstance(checkpoint, Predictor) else Predictor.open(checkpoint, runtime_to_predict(settings))
    )
    opened = open_source(str(source), labeled=True)
    dataset = EvalDataset.of_source(
        opened,
        predictor.format,
        map_source_classes(opened.classes, predictor.classes, "evaluated"),
        images=evaluation.max_images,
        max_corrupt_fraction=section_settings(DataSettings, "data", settings).max_corrupt_fraction,
    )
    return predictor, dataset, evaluation
