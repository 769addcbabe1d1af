"""Tables from folders of runs: rows, means over seeds, layouts, what is refused; files that hold what the JSON does."""

from __future__ import annotations

import csv
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from article_runs import CLASSES, answers, write_run
from noisystudent.artifacts.folder import commit
from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import ArtifactError, DataError, MismatchError, SettingsError
from noisystudent.reporting.article.published import published_rows
from noisystudent.reporting.article.tables import require_kind, table_of_runs
from noisystudent.reporting.article.write import as_csv, latex, markdown, plain, write_table
from noisystudent.results.article import ArticleCell, ArticleColumn, ArticleRow, ArticleTable

RUN = {"teacher": 0.70, "control": 0.72, "round-1": 0.75, "round-2": 0.80}


def stages(accuracies, seed=0):
    return {stage: answers(seed * 100 + number, share) for number, (stage, share) in enumerate(accuracies.items())}


@pytest.fixture
def seeds(tmp_path):
    """Two runs that differ in their seed; the second is two points better."""
    return [
        write_run(
            tmp_path / f"run-{seed}", stages({name: top1 + 0.02 * seed for name, top1 in RUN.items()}, seed), seed=seed
        )
        for seed in (0, 1)
    ]


def test_rows_are_means_over_seeds_with_paired_differences(seeds):
    table = table_of_runs("methods", seeds)
    rows = {row.method: row for row in table.rows}
    assert list(rows) == ["teacher", "labels only", "Noisy Student, round 1", "Noisy Student, round 2"]
    last = rows["Noisy Student, round 2"]
    assert last.cells["top-1"].value == pytest.approx(0.81)
    assert last.cells["top-1"].by_seed == (0.80, 0.82)
    assert last.cells["top-1"].difference == pytest.approx(0.08)
    low, high = last.cells["top-1"].difference_interval
    assert low < 0.08 < high
    assert (last.seeds, last.extra_data, last.parameters, last.images) == (
        (0, 1),
        "1,000 unlabeled images",
        50_000,
        400,
    )
    assert (last.train_size, last.test_size, last.samples_seen) == (32, 32, 9_000)
    assert rows["labels only"].extra_data == "none"
    assert rows["labels only"].cells["top-1"].difference is None


def test_other_settings_are_other_rows(tmp_path):
    weak = write_run(tmp_path / "weak", stages(RUN), settings={"noise": {"strength": 0.1}})
    strong = write_run(tmp_path / "strong", stages(RUN), settings={"noise": {"strength": 1.0}})
    assert len(table_of_runs("methods", [weak, strong]).rows) == 8


def test_transfer_has_its_own_names_and_weights(tmp_path):
    start = {"weights": "lite0", "architecture": "a", "trained_on": "b", "fingerprint": "c"}
    run = write_run(tmp_path / "bit", stages(RUN), recipe="bit", start=start)
    rows = {row.method: row for row in table_of_runs("methods", [run]).rows}
    assert rows["BiT transfer, labels only"].extra_data == "weights of lite0"
    assert rows["Noisy Student from BiT transfer, round 1"].extra_data == "weights of lite0, 1,000 unlabeled images"


def test_runs_from_an_encoder_say_so_whoever_pretrained_it(tmp_path):
    weights = {"architecture": "a", "trained_on": "images without labels", "fingerprint": "c"}
    start = {"weights": "/home/someone/work/encoder", **weights}
    given = write_run(tmp_path / "given", stages(RUN), start=start)
    rows = {row.method: row for row in table_of_runs("methods", [given]).rows}
    assert list(rows) == [
        "teacher from SimCLR",
        "SimCLR, fine-tuned on labels",
        "Noisy Student from SimCLR, round 1",
        "Noisy Student from SimCLR, round 2",
    ]
    assert rows["SimCLR, fine-tuned on labels"].extra_data == "weights of work/encoder"
    own = write_run(tmp_path / "own", stages(RUN), settings={"pretraining": {"method": "simclr"}}, recipe="simclrv2")
    rows = [row.method for row in table_of_runs("methods", [own]).rows]
    assert rows[2:] == ["SimCLRv2, distilled", "SimCLRv2, round 2"]


def test_a_model_that_runs_share_has_one_row(tmp_path):
    runs = [write_run(tmp_path / name, stages(RUN), settings={"of": {"the": name}}) for name in ("a", "b")]
    for run in runs:
        folder = run / "scores/teacher"
        (folder / "inputs.json").write_text("{}")
        commit(folder, "scores", {})
    methods = [row.method for row in table_of_runs("methods", runs).rows]
    assert methods.count("teacher") == 1
    assert methods.count("labels only") == 2  # nothing says that they are one


def test_fixed_models_have_rows_at_their_larger_size(tmp_path):
    run = write_run(tmp_path / "run", stages(RUN | {"fixed/round-2": 0.82, "fixed/control": 0.71}))
    rows = {row.method: row for row in table_of_runs("methods", [run]).rows}
    student, control = rows["Noisy Student, round 2, resolution fix"], rows["labels only, resolution fix"]
    assert (student.train_size, student.test_size, student.cells["top-1"].value) == (32, 48, pytest.approx(0.82))
    assert student.cells["top-1"].difference == pytest.approx(0.82 - 0.72)
    assert student.extra_data == "1,000 unlabeled images"
    assert (control.extra_data, control.cells["top-1"].value) == ("none", pytest.approx(0.71))


def test_a_run_from_its_own_pretraining_says_so(tmp_path):
    run = write_run(tmp_path / "run", stages(RUN), settings={"pretraining": {"method": "simclr"}})
    rows = {row.method: row for row in table_of_runs("methods", [run]).rows}
    assert rows["SimCLR, fine-tuned on labels"].extra_data == "1,000 unlabeled images"


def test_the_probe_of_an_encoder_is_a_row_of_simclr_with_its_network(tmp_path):
    settings, probes = {"pretraining": {"method": "simclr"}}, {"linear probe of the encoder": 0.5}
    run = write_run(tmp_path / "run", stages(RUN), settings=settings, baselines=probes)
    row = table_of_runs("methods", [run]).rows[0]
    assert (row.method, row.model) == ("SimCLR, linear probe of the encoder", "small")
    assert (row.parameters, row.train_size, row.extra_data) == (50_000, 32, "1,000 unlabeled images")
    other = write_run(tmp_path / "other", stages(RUN), baselines={"support vector machine on HOG": 0.5})
    row = table_of_runs("methods", [other]).rows[0]
    assert (row.method, row.model, row.parameters, row.extra_data) == (
        "support vector machine on HOG", "", None, "none"
    )  # fmt: skip


def test_figures_are_drawn_from_what_differs(tmp_path):
    runs = [
        write_run(tmp_path / f"run-{number}", stages(RUN), unlabeled=number * 500, parameters=number * 10_000)
        for number in (1, 2)
    ]
    figures = {figure.name: figure for figure in table_of_runs("methods", runs).figures}
    assert set(figures) == {"rounds", "parameters", "unlabeled"}
    assert [point.x for point in figures["unlabeled"].series[0].points] == [500, 1000]
    assert [point.x for point in figures["rounds"].series[0].points] == [0, 1, 2]
    assert [point.y for point in figures["rounds"].series[0].points] == pytest.approx([70.0, 75.0, 80.0])
    assert {line.name for line in figures["parameters"].series} == {"students", "labels only"}


def distilled(folder, recipe="distillation", method="kd", **accuracies):
    settings = {"distillation": {"method": method}}
    shares = {"control": 0.70, "student-1": 0.72, **accuracies}
    if method == "kd":
        shares["teacher-1"] = 0.9
    return write_run(folder, stages(shares), command="distill", recipe=recipe, settings=settings)


def test_the_family_of_distillation_is_laid_out_as_by_yuan_et_al(tmp_path):
    recipes = ["virtual-teacher", "distillation", "defective", "reversed", "self-taught"]
    runs = [
        distilled(tmp_path / recipe, recipe, "virtual_teacher" if recipe == "virtual-teacher" else "kd")
        for recipe in recipes
    ]
    runs.append(distilled(tmp_path / "smooth", "distillation", "matched_smoothing"))
    table = table_of_runs("distillation", runs)
    names = [column.name for column in table.columns]
    assert names == ["alone", "KD", "Re-KD", "De-KD", "Tf-KD self", "Tf-KD reg", "label smoothing"]
    (row,) = table.rows
    assert row.cells["KD"].difference == pytest.approx(0.02)
    assert row.cells["alone"].value == pytest.approx(0.70)
    assert "72.0%" in markdown(table)
    assert "(+2.0 [" in markdown(table)


def measured(top1, curve):
    points = [
        {"epsilon": eps, "fgsm": fgsm, "fgsm_standard_error": 0.01, "pgd": 0.1, "pgd_standard_error": 0.01}
        for eps, fgsm in curve.items()
    ]
    attacks = {
        "norm": "linf", "steps": 10, "step_size": 0.1, "restarts": 1, "count": 400, "image": [3, 32, 32],
        "clean": top1, "curve": points,
    }  # fmt: skip
    corruptions = {
        "source": "generated", "errors": {"fog": {"1": 0.3, "3": 0.5}}, "per_corruption": {}, "mean": None,
        "mean_of_present": None, "present": 0, "missing": ["fog"],
    }  # fmt: skip
    clean = {"top1": top1, "top1_standard_error": 0.02, "top5": 0.99}
    return {
        "model": "m", "source": "t", "count": 400, "clean": clean, "attacks": attacks, "corruptions": corruptions
    }  # fmt: skip


def robust(folder, **kwargs):
    models = {"control": measured(0.7, {2: 0.6, 8: 0.3}), "round 1": measured(0.8, {2: 0.7, 8: 0.5})}
    return write_run(folder, stages(RUN), robustness={"first": "control", "measured": models}, **kwargs)


def test_robustness_says_what_was_generated_and_how_much_of_it(tmp_path):
    table = table_of_runs("robustness", [robust(tmp_path / "run")])
    names = [column.name for column in table.columns]
    assert names == ["clean top-1", "clean top-5", "C (generated, 2 of 75 conditions) top-1"]
    rows = {row.method: row for row in table.rows}
    assert rows["control"].cells[names[2]].value == pytest.approx(0.6)
    assert rows["round 1"].cells["clean top-1"].interval == pytest.approx((0.8 - 0.0392, 0.8 + 0.0392), abs=1e-4)
    assert (rows["control"].model, rows["round 1"].test_size) == ("small", 32)


def test_the_curve_of_attacks_has_intervals_and_published_points(tmp_path):
    published = published_rows("attack", "article")
    table = table_of_runs("attack", [robust(tmp_path / "run")], published)
    assert [column.name for column in table.columns] == ["eps 0", "eps 2", "eps 4", "eps 8", "eps 16"]
    (figure,) = table.figures
    first, last = figure.series[0], figure.series[-1]
    assert [point.x for point in first.points] == [0, 2, 8]
    assert first.points[1].interval == pytest.approx((60 - 1.96, 60 + 1.96), abs=0.01)
    assert [point.y for point in last.points] == pytest.approx([87.4, 77.0, 74.3, 71.9, 70.2])
    assert last.name.endswith("(published)")


def test_seeds_of_robustness_are_averaged(tmp_path):
    runs = [robust(tmp_path / f"{seed}", seed=seed) for seed in (0, 1)]
    rows = table_of_runs("attack", runs).rows
    assert len(rows) == 2
    assert rows[0].cells["eps 2"].by_seed == (0.6, 0.6)
    assert rows[0].seeds == (0, 1)


def test_methods_have_the_numbers_of_their_suites_beside_their_accuracy(tmp_path):
    table = table_of_runs("methods", [robust(tmp_path / f"{seed}", seed=seed) for seed in (0, 1)])
    names = [column.name for column in table.columns]
    assert names == ["top-1", "top-5", "C (generated, 2 of 75 conditions) top-1", "FGSM eps 2", "FGSM eps 8"]
    rows = {row.method: row for row in table.rows}
    assert rows["labels only"].cells["FGSM eps 8"].value == pytest.approx(0.3)
    assert rows["Noisy Student, round 1"].cells[names[2]].by_seed == (0.6, 0.6)
    assert "FGSM eps 2" not in rows["teacher"].cells
    assert table.notes[-1].startswith("Columns after the accuracies")


MADE_UP = ArticleTable(
    kind="methods",
    title="A & B | 100%",
    columns=(ArticleColumn(name="top-1"), ArticleColumn(name="mCE", is_fraction=False)),
    rows=(
        ArticleRow(
            method="a_b & c | d <e>",
            model="m",
            parameters=5_288_548,
            extra_data="none",
            train_size=224,
            test_size=288,
            samples_seen=12_800,
            seeds=(0, 1),
            cells={
                "top-1": ArticleCell(
                    value=0.81234567, by_seed=(0.81, 0.8146), interval=(0.80, 0.83), difference=0.012,
                    difference_interval=(-0.004, 0.028),
                ),
                "mCE": ArticleCell(value=28.3),
            },
        ),
        ArticleRow(
            method="published one",
            model="L2",
            published=True,
            source="A 2020",
            cells={"top-1": ArticleCell(value=0.884)},
        ),
    ),
)  # fmt: skip


def test_every_number_of_the_files_is_in_the_json(tmp_path):
    write_table(MADE_UP, tmp_path)
    assert read_result(ArticleTable, tmp_path / "table.json") == MADE_UP
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [(row["column"], float(row["value"])) for row in rows] == [
        ("top-1", 0.81234567),
        ("mCE", 28.3),
        ("top-1", 0.884),
    ]
    assert [float(number) for number in rows[0]["by_seed"].split()] == [0.81, 0.8146]
    assert [row["published"] for row in rows] == ["no", "no", "yes"]
    assert float(rows[0]["difference_low"]) == -0.004


def test_markdown_can_be_parsed_back():
    lines = markdown(MADE_UP).splitlines()
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    assert {len(cells) for cells in table} == {9}
    own, published = ([cell.strip() for cell in cells] for cells in table[2:])
    assert own[0] == r"a\_b & c \| d &lt;e>"
    assert own[2:6] == ["5.29 M", "none", "224 -> 288", "12.8 k"]
    assert own[7:] == ["81.2% [80.0, 83.0] (+1.2 [-0.4, +2.8])", "28.3"]
    assert published[7] == "*88.4%*"
    assert "- Published, set apart and in no mean: A 2020" in lines


def test_latex_is_well_formed():
    text = latex(MADE_UP)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    columns = re.search(r"\\begin\{tabular\}\{(l+)\}", text)[1]
    rows = [line for line in body if line.endswith(r"\\")]
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)
    assert not any(re.search(r"(?<!\\)[%#_]", line) for line in rows)
    assert all(line.count("{") == line.count("}") for line in body)
    assert text.count(r"\textcolor{gray}") == len(columns)
    assert body.index(r"\bottomrule") > body.index(r"\midrule") > body.index(r"\toprule")


def test_figures_are_svg_with_intervals(tmp_path):
    table = table_of_runs("attack", [robust(tmp_path / "run")])
    write_table(table, tmp_path / "out")
    root = ElementTree.parse(tmp_path / "out" / "attack.svg").getroot()
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "control, 2: 95% interval 58.0 to 62.0" in titles
    assert "control, 2: 60.0" in titles


def test_published_rows_are_in_no_mean_and_have_sources(seeds):
    rows = published_rows("methods", "article")
    assert rows
    assert all(row.source and row.published for row in rows)
    without = table_of_runs("methods", seeds)
    beside = table_of_runs("methods", seeds, rows)
    assert beside.rows[: len(without.rows)] == without.rows
    assert beside.figures == without.figures
    assert "Noisy Student" in plain(beside)


HEADER = "table,method,model,parameters,extra_data,train_size,test_size,numbers,source\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n", "has the columns a, b; give table, method"),
        (HEADER + "methods,m,,,,,,top-1=0.5,\n", "line 2: 'm' has no source"),
        (HEADER + "methods,m,,,,,,top-1=x,s\n", "line 2: .* Give numbers as in"),
        (HEADER + "methods,m,,1.5,,,,top-1=0.5,s\n", "line 2: .* whole parameters"),
        (HEADER + "methods,m,,,,,,top-1,s\n", "line 2: "),
    ],
)
def test_wrong_published_rows_are_refused(tmp_path, text, reason):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        published_rows("methods", tmp_path / "rows.csv")
    with pytest.raises(DataError, match="cannot be read"):
        published_rows("methods", tmp_path / "missing.csv")


def test_runs_that_do_not_fit_a_table_are_refused(tmp_path, seeds):
    with pytest.raises(SettingsError, match=r"is no distillation: .* give --table methods"):
        table_of_runs("distillation", seeds)
    with pytest.raises(SettingsError, match="was not measured beyond its test images"):
        table_of_runs("attack", seeds)
    with pytest.raises(SettingsError, match="a run is given twice"):
        table_of_runs("methods", [seeds[0], seeds[0]])
    with pytest.raises(SettingsError, match="repeats another of the runs with the same seed 0"):
        table_of_runs("methods", [seeds[0], write_run(tmp_path / "again", stages(RUN))])
    with pytest.raises(ArtifactError, match="made of folders of finished runs and distillations"):
        table_of_runs("methods", [tmp_path / "none"])
    other = write_run(tmp_path / "other", stages(RUN), classes=["x", *CLASSES[1:]])
    with pytest.raises(MismatchError, match="a table compares runs of the same classes"):
        table_of_runs("methods", [seeds[0], other])
    alone = write_run(tmp_path / "alone", stages({"student-1": 0.7}), command="distill")
    with pytest.raises(SettingsError, match="has no labels-only model of the student"):
        table_of_runs("distillation", [alone])
    twice = [distilled(tmp_path / "a"), distilled(tmp_path / "b", method="kd", **{"student-1": 0.5})]
    content = json.loads((twice[1] / "run.json").read_text())
    content["settings"]["noise"] = {"strength": 1.0}
    content["origins"]["noise.strength"] = "arguments"
    (twice[1] / "run.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="two distillations of small are KD"):
        table_of_runs("distillation", twice)


def test_a_run_that_was_not_attacked_is_refused(tmp_path):
    models = {"control": measured(0.7, {}) | {"attacks": None}}
    run = write_run(tmp_path / "run", stages(RUN), robustness={"first": "control", "measured": models})
    with pytest.raises(SettingsError, match=r"control was not attacked: give --evaluation.suite attacks"):
        table_of_runs("attack", [run])


def test_an_unknown_kind_and_distillation_on_a_source_are_refused():
    with pytest.raises(SettingsError, match=r"unknown table 'method'; there are methods.* Did you mean"):
        require_kind("method", with_source=False)
    with pytest.raises(SettingsError, match="leave out --source"):
        require_kind("distillation", with_source=True)


def test_exact_numbers_are_in_the_csv(seeds):
    table = table_of_runs("methods", seeds)
    rows = list(csv.DictReader(as_csv(table).splitlines()))
    cells = [cell for row in table.rows for cell in row.cells.values()]
    assert np.array([float(row["value"]) for row in rows]) == pytest.approx([cell.value for cell in cells], abs=0)
