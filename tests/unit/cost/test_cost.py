"""``plan --assume``: the arithmetic by hand, a message for every mistake, and the output shown in docs/scale.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from noisystudent.commands.main import main
from noisystudent.cost.estimate import estimate
from noisystudent.cost.read import read_assumptions
from noisystudent.display.wording import duration
from noisystudent.errors import SettingsError

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "configs" / "assumptions").glob("*.yaml"))
LARGE, PAPER = (ROOT / "configs" / "assumptions" / name for name in ("300m-l2.yaml", "paper-tpu-v3.yaml"))

# Two devices. The teacher has rates, the students have operations: at 120 Gflop per second and 2 Gflop per image, a
# device could label 60 images per second; half of that is 30, and a third of half of it is 10 in training.
SMALL = """
rounds: 3
control: true
images: {labeled: 1000, unlabeled: 9000, bytes_per_image: 1000, source: here}
teacher:
  {model: small, parameters: 1000, epochs: 36, trained_per_second: 20, labeled_per_second: 100, source: here}
students:
  - {model: larger, parameters: 2000, epochs: 36, ratio: 3, gigaflops: 2, source: here}
  - {model: larger, parameters: 2000, epochs: 36, ratio: 7, gigaflops: 2, source: here}
devices:
  {name: box, count: 2, teraflops: 0.12, training_utilization: 0.5, labeling_utilization: 0.5, source: here}
core: {decoded_per_second: 10, noised_per_second: 5, source: here}
predictions: {bytes_per_row: 10, source: here}
prices:
  {as_of: 2026-11-25, currency: EUR, device_hour: 6, gigabyte_month: 100, gigabyte_read: 10, source: here}
"""


@pytest.fixture
def small(tmp_path):
    """Writes the small assumptions with changed values (None leaves the name out), and returns the file."""

    def write(**changes):
        nested = yaml.safe_load(SMALL)
        for name, value in changes.items():
            *sections, field = name.split("__")
            values = nested
            for section in sections:
                values = values[0][section] if isinstance(values, list) else values[section]
            values = values[0] if isinstance(values, list) else values
            values.pop(field, None)
            if value is not None:
                values[field] = value
        file = tmp_path / "small.yaml"
        file.write_text(yaml.safe_dump(nested))
        return file

    return write


def test_stages_equal_those_computed_by_hand(small):
    stages = {stage.name: stage for stage in estimate(read_assumptions(small())).stages}
    by_hand = {  # samples seen, images per second and device, seconds of one device
        "teacher": (36_000, 20, 1_800),
        "round-1/predictions": (9_000, 100, 90),
        "round-1/student": (144_000, 10, 14_400),
        "round-2/predictions": (9_000, 30, 300),
        "round-2/student": (288_000, 10, 28_800),
        "round-3/predictions": (9_000, 30, 300),
        "round-3/student": (288_000, 10, 28_800),
        "control": (288_000, 10, 28_800),
    }
    assert list(stages) == list(by_hand)
    for name, (samples_seen, rate, seconds) in by_hand.items():
        stage = stages[name]
        assert stage.samples_seen == samples_seen
        assert stage.rate == pytest.approx(rate)
        assert stage.device_hours == pytest.approx(seconds / 3600)
        assert stage.hours == pytest.approx(seconds / 3600 / 2)
        assert stage.price == pytest.approx(6 * seconds / 3600)
        # A core needs 1/10 s to decode an image and, for training, 1/5 s more to noise it.
        assert stage.cores == pytest.approx(rate * (0.1 if "predictions" in name else 0.3))


def test_bytes_and_prices_equal_those_computed_by_hand(small):
    result = estimate(read_assumptions(small()))
    # Five float32 checkpoints: the teacher, three students, the control. A saved state holds four copies.
    assert [files.bytes for files in result.stored] == [10_000_000, 3 * 9_000 * 10, 4 * 9_000, 4 * 4 * 2_000]
    assert result.bytes_stored == 10_338_000
    assert result.bytes_read == 1_071_000 * 1000
    assert result.bytes_per_second == 2 * 100 * 1000  # the teacher labels fastest
    seconds = 1_800 + 90 + 14_400 + 2 * (300 + 28_800) + 28_800
    assert result.hours == pytest.approx(seconds / 2 / 3600)
    assert result.device_price == pytest.approx(6 * seconds / 3600)
    assert result.reading_price == pytest.approx(1.071 * 10)
    assert result.storage_price == pytest.approx(0.010338 * 100 * result.hours / (365.25 * 24 / 12))
    assert result.price == pytest.approx(result.device_price + result.reading_price + result.storage_price)


def test_without_the_control_there_is_one_stage_and_one_checkpoint_fewer(small):
    result = estimate(read_assumptions(small(control=False, rounds=1)))
    assert [stage.name for stage in result.stages] == ["teacher", "round-1/predictions", "round-1/student"]
    assert result.stored[2].bytes == 4 * (1000 + 2000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"devices__counts": 3},
            r"unknown setting 'devices\.counts' \(file small\.yaml\)\. Did you mean 'devices\.count'",
        ),
        ({"students__ratoi": 3}, r"unknown setting 'students\.ratoi' .* Did you mean 'students\.ratio'"),
        ({"teacher__ratio": 3}, r"unknown setting 'teacher\.ratio'"),
        ({"price": 3}, r"unknown setting 'price'"),
        ({"devices__count": None}, r"setting devices\.count: it is required"),
        ({"prices": None}, r"setting prices: it is required"),
        ({"core": 3}, r"setting core \(from file small\.yaml: 3\)"),
        ({"core__source": ""}, r"setting core\.source \(from file small\.yaml: ''\)"),
        ({"devices__count": 0}, r"setting devices\.count \(from file small\.yaml: 0\): .*of at least 1"),
        ({"devices__training_utilization": 1.5}, r"devices\.training_utilization .*1\.5.*at most 1|1\.5.*from 0 to 1"),
        ({"students__ratio": -1}, r"students\.ratio .*-1.*above 0"),
        ({"students__epochs": float("inf")}, r"students\.epochs .*inf\): give a number above 0"),
        ({"students": []}, r"setting students .*at least 1"),
        ({"prices__as_of": "soon"}, r"prices\.as_of .*'soon'.*date"),
        ({"teacher__labeled_per_second": None}, r"teacher\.gigaflops \(small\): it is required, unless both"),
        ({"teacher__gigaflops": 1}, r"teacher\.gigaflops \(small\): give it, or both .* not all three"),
        ({"students__gigaflops": None}, r"students\.gigaflops \(larger\): it is required"),
        ({"devices__teraflops": None}, r"devices\.teraflops: it is required, because students\.gigaflops is given"),
    ],
)
def test_messages_name_the_setting_the_value_and_the_remedy(small, changes, message):
    with pytest.raises(SettingsError, match=message) as caught:
        read_assumptions(small(**changes))
    assert "\n" not in str(caught.value)


def test_the_command_line_names_options_that_it_does_not_accept(small, tmp_path, capsys):
    assert main(["plan", "--assume", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml does not exist" in capsys.readouterr().err
    assert main(["plan", "--assume", str(small()), "--labeled", "digits:labeled", "--train.steps=3"]) == 2
    assert "leave out --labeled, --train.steps" in capsys.readouterr().err


def test_names_cannot_send_escape_sequences_to_the_terminal(small, capsys):
    assert main(["plan", "--assume", str(small(devices__name="box\x1b[2J", devices__source="a\x1b[2Jb"))]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_output_for_every_shipped_file_has_its_sources(path, capsys):
    assert main(["plan", "--assume", str(path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(
        " ".join(source.split()) in printed for source in re.findall(r"source: ((?:.|\n    )+)", path.read_text())
    )


def test_the_documented_output_equals_that_of_the_command(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    examples = re.findall(
        r"```console\n\$ noisystudent (plan --assume \S+)\n(.*?)```",
        (ROOT / "docs" / "scale.md").read_text(),
        re.DOTALL,
    )
    assert [words for words, _ in examples] == ["plan --assume configs/assumptions/300m-l2.yaml"]
    for words, output in examples:
        assert main(words.split()) == 0
        assert capsys.readouterr().out == output


def test_an_estimate_does_not_import_torch():
    code = "import sys; from noisystudent.commands.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, "plan", "--assume", str(LARGE)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert printed.endswith("False\n")


def test_the_training_of_the_paper_takes_about_its_published_time():
    # 6 days for a student with 14 pseudo-labeled images per labeled one, on 2,048 cores of TPU v3 (Xie et al. 2020).
    stages = {stage.name: stage for stage in estimate(read_assumptions(PAPER)).stages}
    assert stages["round-1/student"].hours / 24 == pytest.approx(6, rel=0.25)
    assert stages["round-1/student"].samples_seen == 350 * 1_281_167 * 15
    hours = stages["round-1/student"].hours
    documented = (ROOT / "docs" / "scale.md").read_text()
    assert f"labeled one | {duration(3600 * hours)} | 6 days" in documented
    assert f"labeled one | {duration(3600 * hours * 4 / 15)} | 3.5 days" in documented


def test_utilization_agrees_with_published_rates():
    # Rates per second over the memory bandwidth (TB/s) of their device, times that of an H100.
    assumed = read_assumptions(LARGE)
    model, devices = assumed.students[0], assumed.devices
    bandwidth = 3.35
    paper = 350 * 1_281_167 * 15 / (6 * 86_400 * 1024)
    trained = [bandwidth * rate / other for rate, other in ((10.96, 0.936), (paper, 0.9))]
    labeled = [
        bandwidth * rate / other for rate, other in ((54.83, 0.936), (82.12, 1.008), (122.44, 1.792), (111.31, 1.792))
    ]
    peak = devices.teraflops * 1000 / model.gigaflops
    assert min(trained) < peak * devices.training_utilization / 3 < max(trained)
    assert min(labeled) < peak * devices.labeling_utilization < max(labeled)
