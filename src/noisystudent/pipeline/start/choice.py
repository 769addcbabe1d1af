"""How a run starts: on a frozen backbone, with the whole backbone, or from scratch; tried on the labels themselves.

Weights that were trained on photographs help with photographs, and little with hand signs or scanned letters, which a
small network learns better on its own. From about 100 labels on, training the whole backbone pays more than heads on
it, but for large images with fewer than 300 labels (docs/results/pretrained.md). Nothing but the labels says which kind
a user has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.config import Resolved
from noisystudent.data.images import content_fingerprint
from noisystudent.data.stratified import draw_at_most, single_labels
from noisystudent.display.wording import duration, percent
from noisystudent.errors import SettingsError
from noisystudent.layers import BACKBONE
from noisystudent.models.load import RUN_FACTS
from noisystudent.models.settings import AUTO_BACKBONE, NO_BACKBONE
from noisystudent.pipeline.backbones.auto import from_scratch, with_whole_backbone
from noisystudent.pipeline.backbones.tune import HEAD, with_values
from noisystudent.pipeline.budget.decide import budget_seconds
from noisystudent.pipeline.build_context import Decided, decide_settings, open_sources
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import NO_EXTENSIONS, Extensions
from noisystudent.pipeline.stage_costs import StageCosts
from noisystudent.pipeline.stages.online_checks import is_online
from noisystudent.pipeline.start.trial import (
    MOST_LABELS,
    SCRATCH,
    START,
    TUNED,
    NetworkStart,
    compare_starts,
    labeled_alone,
    training_stages,
    with_trial_length,
)
from noisystudent.results.facts import MANY_TRIED, StartTrial
from noisystudent.results.run import StageCost
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter

CHOICE = f"{START}/choice"  # the stage
SHARE = 0.12  # of the budget, for a trial from scratch; its reserve holds the trials
SHARES_OF_BOTH = (0.06, 0.08)  # from scratch, and of the whole backbone
FEWEST_FOR_WHOLE = 100  # labels, below which heads were better on two of three sets (NOTEBOOK.md)
LARGE = 112  # px, half of what most weights were trained at; smaller images are enlarged by more than twice


@dataclass(frozen=True)
class _Starts:
    """The starts that are open: on frozen features, and those of whole networks by the prefix of their stages."""

    frozen: Decided
    networks: dict[str, NetworkStart]

    @property
    def seconds(self) -> float:
        """The seconds that the budget gives their trials."""
        return sum(start.seconds for start in self.networks.values())


def choose_start(resolved: Resolved, reporter: Reporter, extensions: Extensions | None = None) -> Resolved:
    """The settings of a run with the start that predicts most of its labels, of those that ``auto`` leaves open.

    All starts learn from some of the labels and predict the others. The network from scratch has a small part of the
    time that a run would give it, so it is taken where it is as good already. The whole backbone is tried where there
    are ``FEWEST_FOR_WHOLE`` labels, and taken as ``StartTrial.prefers`` says. Only the whole backbone is tried where
    the user names one, and nothing for a run without a budget, for one that began without a trial, or where a class has
    a single label.

    Raises what ``decide_settings`` raises.
    """
    if not _is_open(resolved):
        return resolved
    trial = _kept_trial(resolved) if _has_begun(resolved) else _new_trial(resolved, reporter, extensions)
    if trial is None:
        return resolved
    reporter.say(f"start: {_in_words(trial)}")
    return _as_tried(resolved, trial)


def finished_start(resolved: Resolved, extensions: Extensions | None = None) -> tuple[Resolved, float]:
    """What ``choose_start`` has decided, without trying anything, and the seconds of a trial that is still to come."""
    if not _is_open(resolved):
        return resolved, 0.0
    if trial := _kept_trial(resolved):
        return _as_tried(resolved, trial), 0.0
    starts = None if _has_begun(resolved) else _open_starts(resolved, extensions)
    return resolved, starts.seconds if starts else 0.0


def count_trial(folder: Path, costs: StageCosts) -> None:
    """Adds what the trial took, if there was one, to the costs of a run."""
    for stage in (*training_stages(SCRATCH), *training_stages(TUNED), CHOICE):
        if (folder / stage).is_dir():
            costs.found(stage, folder / stage)


def _as_tried(resolved: Resolved, trial: StartTrial) -> Resolved:
    """The settings with the start that a trial prefers."""
    if trial.prefers == "scratch":
        return from_scratch(resolved, _in_words(trial))
    return with_whole_backbone(resolved, _in_words(trial)) if trial.prefers == "tuned" else resolved


def _in_words(trial: StartTrial) -> str:
    """What was tried, and what follows."""
    taken = {
        "scratch": "the run trains from scratch",
        "tuned": "the run trains the whole backbone",
        "frozen": "the run starts from the frozen backbone",
    }
    named = {"a network from scratch": trial.scratch, "the whole backbone": trial.tuned}
    tried = [
        f"{percent(network.top1)} by {name} ({network.steps} steps at {network.size} px), where heads on frozen "
        f"features have {percent(network.frozen)} (standard error of the difference {percent(network.standard_error)})"
        for name, network in named.items()
        if network
    ]
    if trial.tuned and not trial.student:
        tried.append("the budget has no time for a student of the whole backbone on images as large as those of heads")
    if trial.tuned and trial.must_lead:
        tried += [f"frozen features suit images of {LARGE} px and more"] if trial.large_images else []
        tried.append(f"with fewer than {MANY_TRIED} labels the whole backbone must then lead by two standard errors")
    return f"cross-fitting on {trial.labels} labels: {', and '.join(tried)}, so {taken[trial.prefers]}"


def _is_open(resolved: Resolved) -> bool:
    """Whether the user left a part of the start open; foreign images are found in the features of a backbone alone."""
    has_backbone = resolved.settings.model.backbone != NO_BACKBONE
    return has_backbone and resolved.settings.selection.foreign != "drop" and any(_open_parts(resolved))


def _open_parts(resolved: Resolved) -> tuple[bool, bool]:
    """Whether the user left open to train from scratch, and to train the whole backbone."""
    model, explicit = resolved.settings.model, resolved.explicit
    of_heads = any(name.startswith("head.") for name in explicit)
    return model.backbone == AUTO_BACKBONE and BACKBONE not in explicit, model.tune == "auto" and not of_heads


def _has_begun(resolved: Resolved) -> bool:
    return (Path(resolved.settings.out) / RUN_FACTS).is_file()


def _kept_trial(resolved: Resolved) -> StartTrial | None:
    """The trial that the run's folder keeps."""
    summary = Path(resolved.settings.out) / CHOICE / "summary.json"
    return read_result(StartTrial, summary) if summary.is_file() else None


def _open_starts(resolved: Resolved, extensions: Extensions | None) -> _Starts | None:
    """The starts of a run that has a budget, and would take a frozen backbone; only the labeled source is opened."""
    resolved = replace(resolved, settings=_with_labels_alone(resolved.settings))
    decide = partial(decide_settings, reporter=Reporter(quiet=True), dry=True, extensions=extensions)
    frozen = decide(resolved)
    budget = budget_seconds(resolved, frozen.engine)
    if budget is None or frozen.settings.model.tune != HEAD:
        return None
    of_scratch, of_whole = _open_parts(resolved)
    of_whole &= sum(frozen.sources["labeled"].shard_sizes) >= FEWEST_FOR_WHOLE
    networks = {}
    if of_scratch:
        share = SHARES_OF_BOTH[0] if of_whole else SHARE
        networks[SCRATCH] = NetworkStart(decide(from_scratch(resolved, "")), share * budget)
    if of_whole:
        share = SHARES_OF_BOTH[1] if of_scratch else SHARE
        networks[TUNED] = NetworkStart(decide(with_whole_backbone(resolved, "")), share * budget)
    return _Starts(frozen, networks) if networks else None


def _with_labels_alone(settings: RunSettings) -> RunSettings:
    """The settings without the other sources, which hold out as many labels for validation as the run does."""
    values: dict[str, object] = {"data.validation_fraction": 0.0} if settings.validation else {}
    if settings.test and not settings.validation:
        values["data.few_labels"] = settings.data.few_labels_beside_test
    alone = dict.fromkeys(("unlabeled", "validation", "test"))
    runtime = settings.runtime.settled()  # a trial is too short to time modes of computing
    return with_values(settings.model_copy(update={**alone, "runtime": runtime}), values)


def _new_trial(resolved: Resolved, reporter: Reporter, extensions: Extensions | None) -> StartTrial | None:
    """The trial; None where nothing is tried, or a training would be too short to say anything."""
    starts = _open_starts(resolved, extensions)
    if starts is None:
        return None
    frozen = labeled_alone(starts.frozen)
    labels = frozen.splits.labeled.labels
    if single_labels(labels):
        return None
    tried = draw_at_most(labels, MOST_LABELS, frozen.settings.seed)
    inputs: dict[str, Any] = {
        "labeled": content_fingerprint(frozen.splits.labeled.take(tried)),
        "backbone": frozen.backbone.fingerprint if frozen.backbone else None,
        "seconds": {prefix: start.seconds for prefix, start in starts.networks.items()},
        "seed": frozen.settings.seed,
    }
    networks = _that_fit(starts, inputs, len(tried))
    if not networks:
        reporter.say(
            f"start: {duration(starts.seconds)} of the budget are too little to try a whole network, so the run starts "
            "from the frozen backbone"
        )
        return None
    if starts.networks.keys() - networks.keys() == {TUNED}:
        reporter.say("start: the budget is too little to try the whole backbone; --tune all trains it all the same")
    open_sources(resolved.settings, extensions or NO_EXTENSIONS)  # a misspelled one is said before minutes
    folder = frozen.folder_of(CHOICE)
    if not frozen.is_complete(CHOICE, inputs):
        trial = compare_starts(tried, _contexts(networks, starts.frozen, reporter))
        student = TUNED not in networks or has_equal_student(resolved, extensions)
        large = TUNED in networks and edge_seen(starts.networks[TUNED]) >= LARGE
        trial = replace(trial, student=student, large_images=large)

        def write() -> None:
            write_result(folder / "summary.json", trial)
            frozen.commit(START, inputs, StageCost(name=CHOICE, images_predicted=len(tried)))

        frozen.engine.group.on_main(write)
    return read_result(StartTrial, folder / "summary.json")


def has_equal_student(resolved: Resolved, extensions: Extensions | None) -> bool:
    """Whether the budget of a run gives the whole backbone a student, as heads have one, on images as large as theirs.

    What the budget chooses for it is kept in the run's folder, and a run of the whole backbone takes it: measured
    again, at another load of the machine, it could have no student, for whose sake the whole backbone was taken.
    """
    decide = partial(decide_settings, reporter=Reporter(quiet=True), budgeted=True, extensions=extensions)
    try:
        whole = decide(with_whole_backbone(resolved, "")).settings
        heads = decide(resolved, dry=True).settings
    except SettingsError:  # the budget is too small for one of them
        return False
    return (whole.rounds.count > 0 or is_online(whole)) and _edge(whole) >= _edge(heads)


def edge_seen(start: NetworkStart) -> int:
    """The edge in pixels of what networks can see of the images: their own, or ``data.size`` where it is smaller."""
    own, size = start.costs.workload.edge, start.decided.resolved.settings.data.size
    return own if size == "auto" else min(own, size)


def _edge(settings: RunSettings) -> int:
    assert settings.data.size != "auto", "a budget chooses it"
    return settings.data.size


def _that_fit(starts: _Starts, inputs: dict[str, Any], labels: int) -> dict[str, Decided]:
    """The starts whose trial fits into its seconds; what the whole backbone cannot use is for the one from scratch."""
    fitting: dict[str, Decided] = {}
    spare = 0.0
    for prefix in (TUNED, SCRATCH):
        start = starts.networks.get(prefix)
        if start is None:
            continue
        if decided := with_trial_length(start, prefix, inputs, labels, spare):
            fitting[prefix] = decided
        else:
            spare += start.seconds
    return fitting


def _contexts(
    networks: dict[str, Decided], frozen: Decided, reporter: Reporter
) -> dict[str, tuple[RunContext, RunContext]]:
    """Of each network that is tried, its run and that on frozen features beside it.

    One clock times them all, so what a fold takes is not counted in the comparison again.
    """
    contexts = {}
    for prefix, decided in networks.items():
        network = labeled_alone(replace(decided, costs=frozen.costs))
        contexts[prefix] = replace(network, reporter=reporter), _frozen_beside(prefix, decided, frozen)
    return contexts


def _frozen_beside(prefix: str, network: Decided, frozen: Decided) -> RunContext:
    """The run on frozen features beside a whole network: the same backbone sees images of the same size."""
    if prefix == TUNED:
        size = network.settings.data.size
        frozen = replace(frozen, settings=with_values(frozen.settings, {"data.size": size}))
    return labeled_alone(frozen)
