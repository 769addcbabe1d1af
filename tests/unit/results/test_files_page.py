"""docs/files.md lists every field of every result that is written as JSON, and every column of the Parquet parts."""

import dataclasses
import re
import types
import typing

import numpy as np
import pyarrow.parquet as pq
import pytest

from files_page import names, sections, tables, trees
from noisystudent.artifacts.folder import INPUTS, MANIFEST, Manifest, commit, read_json
from noisystudent.data.dedup.leakage import Excluded
from noisystudent.evaluation.metrics.results import EvaluationResult
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.selection.parts import REASONS, PartSelection, write_selection
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.results.article import ArticleTable
from noisystudent.results.facts import ExcludedImage, RunFacts, StrengthChoice, StudentChoice
from noisystudent.results.findings import Findings
from noisystudent.results.fix import FixResult
from noisystudent.results.run import RunSummary
from noisystudent.results.study import StudyResult

WRITTEN = (
    FixResult, RunSummary, RunFacts, StrengthChoice, StudentChoice, ClassShares, SelectionSummary, EvaluationResult,
    RobustnessResult,
    ComparisonResult, StudyResult, Findings, ArticleTable,
)  # fmt: skip


def parts_of(hint: object) -> list[object]:
    """The types that a value consists of: of a dict, those of its values; of literals, their type."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return parts_of(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return sorted({type(value) for value in typing.get_args(hint)}, key=str)
    if origin is dict:
        return parts_of(typing.get_args(hint)[1])
    if origin in (tuple, list, typing.Union, types.UnionType):
        return [part for argument in typing.get_args(hint) if argument is not Ellipsis for part in parts_of(argument)]
    return [hint]


def own_hints(kind: type) -> dict[str, object]:
    """The fields of a class with their types, without those of a base class that has its own section."""
    hints = typing.get_type_hints(kind, include_extras=True)
    inherited = {
        field.name for base in kind.__mro__[1:] if base.__name__ in sections() for field in dataclasses.fields(base)
    }
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in inherited}


def reachable(*roots: type) -> list[type]:
    """The classes of results, those of their fields and those of bases with their own section included."""
    kinds: list[type] = []
    waiting = list(roots)
    while waiting:
        kind = waiting.pop()
        if kind in kinds:
            continue
        kinds.append(kind)
        waiting += [base for base in kind.__mro__[1:] if base.__name__ in sections()]
        waiting += [
            part for hint in own_hints(kind).values() for part in parts_of(hint) if dataclasses.is_dataclass(part)
        ]
    return sorted(kinds, key=lambda kind: kind.__name__)


KINDS = reachable(*WRITTEN)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_section_lists_every_field_of_its_class_and_no_other(kind):
    assert kind.__name__ in sections(), f"docs/files.md needs a section {kind.__name__}"
    assert names(kind.__name__) == set(own_hints(kind))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_types_on_the_page_are_those_of_the_class(kind):
    table = tables(kind.__name__)[0]
    for name, hint in own_hints(kind).items():
        parts = parts_of(hint)
        shown, _ = table[name]
        assert ("null" in shown) == (type(None) in parts), name
        scalars = {part.__name__ for part in parts if part in (bool, int, float, str)}
        assert set(re.findall(r"\b(bool|int|float|str)s?\b", shown)) == scalars, name
        assert set(re.findall(r"\[(\w+)\]\(#\w+\)", shown)) == {
            part.__name__ for part in parts if dataclasses.is_dataclass(part)
        }, name


def test_a_section_names_the_section_of_its_base_class():
    for kind in KINDS:
        for base in kind.__mro__[1:]:
            if base.__name__ in sections():
                assert f"The fields of [{base.__name__}](#{base.__name__.lower()})" in sections()[kind.__name__]


def test_a_manifest_has_the_fields_on_the_page(tmp_path):
    assert {field.name for field in dataclasses.fields(Manifest)} <= names("Manifest")
    commit(tmp_path, "selection", {"seed": 0})
    assert set(read_json(tmp_path / MANIFEST)) == names("Manifest")
    assert all(file in sections()["Folders"] for file in (INPUTS, MANIFEST))


def test_images_left_out_have_the_same_fields_in_both_files():
    assert {field.name for field in dataclasses.fields(Excluded)} == names(ExcludedImage.__name__)


def test_parts_of_predictions_have_the_columns_and_the_metadata_on_the_page(tmp_path):
    columns: set[str] = set()
    for classes in (3, predictions.MAX_FULL_CLASSES + 1):
        log_p, typicality = np.log(np.full((2, classes), 1 / classes, np.float32)), np.ones(2, np.float32)
        labels = predictions.ShardLabels.of(["a", "b"], log_p, (), typicality)
        predictions.write_part(tmp_path / f"{classes}.parquet", [labels])
        schema = pq.read_schema(tmp_path / f"{classes}.parquet")
        columns |= set(schema.names)
    assert columns == names("Parts of predictions")
    assert b"noisystudent.part" in schema.metadata
    metadata = {field.name for field in dataclasses.fields(predictions.PartStats)}
    assert metadata == set(tables("Parts of predictions")[1])
    predictions.write_failed(tmp_path, [(0, "c", "truncated")])
    assert set(pq.read_schema(tmp_path / predictions.FAILED).names) == names("failed.parquet")


def test_parts_of_a_selection_have_the_columns_and_the_reasons_on_the_page(tmp_path):
    reasons = np.arange(len(REASONS), dtype=np.int8)
    write_selection(tmp_path, [PartSelection("part-00000.parquet", (len(reasons),), np.ones_like(reasons), reasons)])
    assert set(pq.read_schema(tmp_path / "part-00000.parquet").names) == names("Parts of a selection")
    _, meaning = tables("Parts of a selection")[0]["reason"]
    assert [reason for reason in REASONS if f"`{reason}`" not in meaning] == []


def test_every_folder_that_a_tree_refers_to_has_a_tree():
    named = {
        reference[0]
        for lines in trees().values()
        for path, description in lines.items()
        if path.endswith("/") and (reference := re.match(r"[A-Z]{2,}\b", description))
    }
    assert named <= set(trees())
