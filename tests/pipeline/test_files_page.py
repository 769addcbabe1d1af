"""docs/files.md names every file that the commands leave, with its columns or fields, and its examples run."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from files_page import PAGE, line_of, lines_of, names
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source

DIGITS = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
TINY = {"data.size": 8, "train.steps": 2, "train.batch_size": 16}
SUITE = {
    "evaluation.suite": "clean,calibration,corruptions,perturbations,natural,attacks",
    "evaluation.max_images": 4,
    "evaluation.corruptions": "fog",
    "evaluation.severities": 1,
    "evaluation.perturbations": "tilt",
    "evaluation.natural": "other=digits:test@1",
    "evaluation.epsilons": 1,
    "evaluation.attack_steps": 1,
}
FIXED = {"noise.strength": 0.2}
SEARCHED = {"noise.strength": "auto", "noise.strengths": 0.1}
TIMED = {"runtime.channels_last": "auto"}
TEACHERS = {**TINY, "model.teacher": "tiny_resnet"}
PRETRAINED = {"pretraining.method": "simclr", "pretraining.epochs": 0.1}
STUDENTS = {**TINY, "student": "tiny_resnet,tiny_resnet"}

# The tree of each folder that the commands below leave.
FOLDERS = {
    "runs/photos": "RUN",
    "runs/validated": "RUN",
    "runs/heads": "RUN",
    "runs/online": "RUN",
    "runs/weak": "RUN",
    "runs/distilled": "DISTILLATION",
    "runs/views": "DISTILLATION",
    "teacher": "CHECKPOINT",
    "teacher.strength": "STRENGTH",
    "student": "CHECKPOINT",
    "fixed": "CHECKPOINT",
    "fixed.scores": "RESOLUTION",
    "encoder": "CHECKPOINT",
    "encoder.probe": "PROBE",
    "predictions": "PREDICTIONS",
    "selection": "SELECTION",
    "robust": "ROBUSTNESS",
    "compared": "COMPARISON",
    "shards": "SHARDS",
    "labeled-shards": "SHARDS",
}
FILES = ("scores.json", "scores.resolution.svg", "classes.csv", "sheet.png")
# Files that these commands do not leave: of published sets, of AutoAttack, of a training that still runs, of a trial of
# two starts, of further backbones, and events for TensorBoard.
ELSEWHERE = {
    *(f"RUN: start/choice/{name}.json" for name in ("summary", "cost", "inputs", "manifest")),
    *(f"RUN: features-<n>/{name}.json" for name in ("summary", "cost", "inputs", "manifest")),
    "RUN: tensorboard/<stage>/<events>",
    "CHECKPOINT: training-state.pt",
    "ROBUSTNESS: perturbations/<perturbation>/stability.json",
    "ROBUSTNESS: perturbations/<perturbation>/inputs.json",
    "ROBUSTNESS: autoattack/epsilon-<epsilon>.json",
    "ROBUSTNESS: autoattack/inputs.json",
}

# The section with the fields or columns of each file, by the line of the file in a tree.
SECTIONS = {
    "RUN: run.json": "RunFacts",
    "RUN: summary.json": "RunSummary",
    "RUN: round-<n>/scores.json": "Scores of a round",
    "RUN: online/scores.json": "Scores of a round",
    "RUN: scores/robustness/comparison.json": "ComparisonResult",
    "DISTILLATION: run.json": "RunFacts",
    "DISTILLATION: summary.json": "RunSummary",
    "DISTILLATION: scores/robustness/comparison.json": "ComparisonResult",
    "DISTILLATION: timing/summary.json": "ModelTimes",
    "COMPARISON: comparison.json": "ComparisonResult",
    "CHECKPOINT: config.json": "config.json",
    "CHECKPOINT: training.json": "training.json",
    "CHECKPOINT: metrics.jsonl": "metrics.jsonl",
    "CHECKPOINT: calibration.json": "calibration.json",
    "SCORES: calibration.json": "calibration.json",
    "STRENGTH: calibration/calibration.json": "calibration.json",
    "PREDICTIONS: part-<number>.parquet": "Parts of predictions",
    "PREDICTIONS: failed.parquet": "failed.parquet",
    "PREDICTIONS: summary.json": "Summary of predictions",
    "SELECTION: part-<number>.parquet": "Parts of a selection",
    "SELECTION: summary.json": "SelectionSummary",
    "SCORES: scores.json": "scores.json",
    "SCORES: validation.parquet": "Predictions for held-out images",
    "SCORES: test.parquet": "Predictions for held-out images",
    "SHARES: summary.json": "ClassShares",
    "PROBE: summary.json": "ProbeResult",
    "STRENGTH: choice/summary.json": "StrengthChoice",
    "RUN: student-choice/summary.json": "StudentChoice",
    "SPEED: summary.json": "Summary of the compute mode",
    "RESOLUTION: resolution.json": "FixResult",
    "RUN: budget/summary.json": "Choice",
    "RUN: baselines/scores/summary.json": "Baseline",
    "RUN: head-choice/summary.json": "HeadChoice",
    "RUN: cross-fit/summary.json": "HeadEvidence",
    "RUN: findings/summary.json": "Findings",
    "RUN: findings/map.parquet": "Map",
    "RUN: page-images.parquet": "Images of the page",
    "DISTILLATION: page-images.parquet": "Images of the page",
    "SCREEN: left-out.json": "ExcludedImage",
    "ROBUSTNESS: robustness.json": "RobustnessResult",
    "ROBUSTNESS: scores.json": "EvaluationResult",
    "ROBUSTNESS: clean.parquet": "Results per image",
    "ROBUSTNESS: temperatures.json": "temperatures.json",
    "ROBUSTNESS: corruptions/<corruption>-<severity>.parquet": "Results per image",
    "ROBUSTNESS: perturbations/<perturbation>.json": "SequenceStability",
    "ROBUSTNESS: natural/<set>/clean.parquet": "Hits on a natural set",
    "ROBUSTNESS: natural/<set>/shifted.parquet": "Hits on a natural set",
    "ROBUSTNESS: attacks/epsilon-<epsilon>.json": "Entries of attacks",
    "SHARDS: shard-<number>.index.parquet": "Index of a shard",
    "SHARDS: shards.json": "shards.json",
}
SECTIONS |= {
    f"{tree}cost.json": "StageCost"
    for tree in (
        *("RUN: baselines/scores/", "RUN: features/", "RUN: head-choice/", "RUN: cross-fit/", "RUN: student-choice/"),
        *(
            "RUN: findings/",
            "RUN: scores/robustness/",
            "DISTILLATION: scores/robustness/",
            "DISTILLATION: timing/",
            "STRENGTH: choice/",
        ),
        *("CHECKPOINT: ", "PREDICTIONS: ", "SHARES: ", "SELECTION: ", "SCORES: ", "SPEED: ", "SCREEN: "),
        "STRENGTH: calibration/",
        "RESOLUTION: ",
        "PROBE: ",
    )
}
# Files without fields: their line on the page says what they hold.
PLAIN = re.compile(
    r"RUN: features/summary\.json|RUN: tensorboard/.*|"
    r"RUN: (label_issues|out_of_class|label_next|label_for_test)\.csv|RUN: findings/map\.jpg|"
    r".*(inputs\.json|manifest\.json|classes\.json|failures\.json|\.html|\.png|\.tar|\.safetensors|\.lock|\.npy|\.svg|README\.md)"
)
# Fields and columns that the page has and these files do not: each with the reason.
CONDITIONAL = {
    "Parts of predictions": {"top_classes", "top_log_probabilities"},  # above 100 classes
    "metrics.jsonl": {"scale"},  # float16
    "Hits on a natural set": {"counted"},  # label sets
    "Entries of attacks": {"robust_accuracy", "robust_accuracy_standard_error"},  # AutoAttack
    "EvaluationResult": set(names("Scores")) - {"classes"},  # listed there
}


def command(name: str, *words: object, **options: object) -> None:
    assert main([name, *map(str, words), *(f"--{option}={value}" for option, value in options.items())]) == 0


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder in which every command has worked."""
    root = tmp_path_factory.mktemp("files")
    command("pack", DIGITS["unlabeled"], root / "shards", rows=1000)
    command("pack", DIGITS["labeled"], root / "labeled-shards", "--labeled")
    command("train", labeled=DIGITS["labeled"], out=root / "teacher", **TEACHERS, **SEARCHED)
    run_all(root)
    distill_all(root)
    single_stages(root)
    evaluate_all(root)
    return root


def save_validation(path: Path) -> Path:
    """Some of the unlabeled digits with their labels; those of another seed's test part are labeled ones, too."""
    records = list(open_source("digits:unlabeled", labeled=True).read(0))[:300]
    images, labels = np.stack([record.image for record in records]), np.array([record.label for record in records])
    np.savez(path, x=images, y=labels, classes=np.array([str(digit) for digit in range(10)]))
    return path


def run_all(root: Path) -> None:
    """A streamed run with a suite, one on a frozen backbone, one with an online student, and one with validation images
    whose teachers' logits are cached in both ways.
    """
    streamed = {**DIGITS, "unlabeled": root / "shards", "data.streaming": "always", **TIMED}
    command("run", out=root / "runs/photos", **streamed, **TEACHERS, **SEARCHED, **SUITE, **{"rounds.count": 1})
    validated = {
        **DIGITS,
        "validation": save_validation(root.parent / f"{root.name}-validation.npz"),
        "data.near_duplicates": "none",
        "train.evaluate_every": 1,
    }
    rounds = {"rounds.count": 2, "rounds.worse_p": 1e-9, "distillation.method": "kd"}
    aim = {"selection.prior": "estimated", "selection.align": "prior"}
    heads = {"model.backbone": root / "teacher", "noise.strength": 0.25, "head.views": 1, "selection.foreign": "drop"}
    command("run", out=root / "runs/heads", **DIGITS, **heads, **aim)
    fix = {"fix.size": 12, "fix.epochs": 1}
    online = {"online.method": "freematch", "evaluation.suite": "clean", "evaluation.max_images": 4, **PRETRAINED}
    command("run", out=root / "runs/online", recipe="online", **DIGITS, **TEACHERS, **online, **fix)
    command("run", out=root / "runs/weak", recipe="online", **DIGITS, **TEACHERS, **{"online.weak_teacher": "round"})
    for logits in ("cached", "cached_views"):
        cached = {"distillation.teacher_logits": logits}
        command("run", out=root / "runs/validated", **validated, **TEACHERS, **SEARCHED, **rounds, **aim, **cached)


def distill_all(root: Path) -> None:
    """Two students in a row, by a given and a trained teacher; and by a given one with cached views."""
    clean = {"evaluation.suite": "clean", "evaluation.max_images": 4}
    teachers = f"{root / 'teacher'},tiny_resnet"
    cached = {"distillation.teacher_logits": "cached", **SEARCHED, **TIMED, **clean}
    command("distill", out=root / "runs/distilled", teacher=teachers, **DIGITS, **STUDENTS, **cached)
    views = {"distillation.teacher_logits": "cached_views", **FIXED}
    command("distill", out=root / "runs/views", teacher=root / "teacher", **DIGITS, **STUDENTS, **views)


def single_stages(root: Path) -> None:
    """A student in single stages; the first selection is archived."""
    predictions, selection = root / "predictions", root / "selection"
    command("label", teacher=root / "teacher", source=DIGITS["unlabeled"], out=predictions)
    for fraction in (0.1, 0.5):
        command("select", predictions=predictions, out=selection, **{"selection.fraction": fraction})
    sources = {name: DIGITS[name] for name in ("labeled", "unlabeled")}
    pseudo_labels = {"predictions": predictions, "selection": selection}
    short = {"pretraining.epochs": 0.1, "data.near_duplicates": "none"}
    command("pretrain", out=root / "encoder", model="tiny_resnet", **DIGITS, **short)
    command("train", out=root / "student", **sources, **pseudo_labels, **TEACHERS, **FIXED)
    larger = {"size": 12, "validation": DIGITS["test"], "fix.epochs": 1}
    command("fix", checkpoint=root / "student", labeled=DIGITS["labeled"], out=root / "fixed", **larger)


def evaluate_all(root: Path) -> None:
    student, test = root / "student", DIGITS["test"]
    command(
        "evaluate", checkpoint=student, source=test, calibrate=DIGITS["unlabeled"], size=16, out=root / "scores.json"
    )
    command("evaluate", checkpoint=student, source=test, size="16,12", out=root / "robust", **SUITE)
    command("compare", root / "teacher", student, source=test, out=root / "compared", **SUITE)
    command("predict", student, test, "--probabilities", out=root / "classes.csv", top=2)
    command("show-noise", test, out=root / "sheet.png", images=1, **{"noise.strengths": 0.5})


def live(path: Path) -> str:
    """A path with archived folders under their first name."""
    return re.sub(r"\.[0-9a-f]{12}(?=/|$)", "", path.as_posix())


def files_by_line(root: Path) -> dict[str, list[Path]]:
    """The files of all folders by the line of the page that names them; fails for a file that no line names."""
    by_line: dict[str, list[Path]] = {}
    unnamed = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        relative = path.relative_to(root)
        folder = next((name for name in FOLDERS if live(relative).startswith(f"{name}/")), None)
        if folder is None:
            unnamed += [live(relative)] if live(relative) not in FILES else []
            continue
        inside = live(relative).removeprefix(f"{folder}/")
        line = line_of(FOLDERS[folder], inside)
        if line is None:
            unnamed.append(live(relative))
        else:
            by_line.setdefault(line, []).append(path)
    assert unnamed == []
    return by_line


def fields_of(path: Path) -> set[str]:
    """The columns of a table, or the keys of a JSON object, of the objects in a list, or of all lines."""
    if path.suffix == ".parquet":
        return set(pq.read_schema(path).names)
    text = path.read_text(encoding="utf-8")
    content = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    return {key for entry in (content if isinstance(content, list) else [content]) for key in entry}


def test_every_file_is_in_a_tree_and_every_line_of_a_tree_is_a_file(workplace):
    left = set(files_by_line(workplace))
    named = {line for tree in set(FOLDERS.values()) for line in lines_of(tree).values()}
    assert named - left == ELSEWHERE
    assert any(re.search(r"\.[0-9a-f]{12}$", path.name) for path in workplace.iterdir()), "nothing was archived"


def test_every_file_has_the_fields_that_its_section_lists(workplace):
    by_line = files_by_line(workplace)
    assert [line for line in by_line if line not in SECTIONS and not PLAIN.fullmatch(line)] == []
    written: dict[str, set[str]] = {}
    for line, heading in SECTIONS.items():
        for path in by_line[line]:
            written.setdefault(heading, set()).update(fields_of(path))
    for heading, fields in written.items():
        conditional = CONDITIONAL.get(heading, set())
        assert fields - conditional == names(heading) - conditional, heading


def test_facts_of_sources_have_the_fields_on_the_page(workplace):
    sources = json.loads((workplace / "runs/photos/run.json").read_text())["sources"]
    assert {field for facts in sources.values() for field in facts} == names("SourceFacts")


def test_the_table_of_predict_has_the_columns_on_the_page(workplace):
    with (workplace / "classes.csv").open(newline="") as file:
        columns = {re.sub("^probability_.*", "probability_<class>", name) for name in next(csv.reader(file))}
    assert columns == names("Table of predict")


EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split()[1])
def test_the_examples_run(code, workplace, monkeypatch, capsys):
    pytest.importorskip(code.split()[1])
    monkeypatch.chdir(workplace)
    exec(compile(code, str(PAGE), "exec"), {})
    if "duckdb" in code:
        printed = capsys.readouterr().out
        assert "round-1" in printed
        assert "not-yet" in printed
