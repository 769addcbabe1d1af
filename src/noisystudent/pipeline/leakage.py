"""A stage before all others: streamed images that are also held out, or look like held-out ones, are left out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import read_json, write_json
from noisystudent.data.dedup.leakage import Excluded, NearDuplicates, ShardMatches, match_shard, merge_matches
from noisystudent.data.unlabeled import StreamedUnlabeled, check_some_left
from noisystudent.display.sources import left_out_sentence
from noisystudent.display.wording import printable
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import StageCost

LEAKAGE = "screen"  # the kind in a manifest, and the name of the stage: both identify finished work
_LEFT_OUT = "left-out.json"


def remove_leakage(context: RunContext) -> RunContext:
    """The context without the held-out images in a streamed unlabeled set; the user learns which there were.

    Images in memory were compared when they were read. A streamed set is compared once, here: shard by shard, so that a
    killed run resumes where it was, and shared by the processes of torchrun.
    """
    unlabeled = context.splits.unlabeled
    if not (isinstance(unlabeled, StreamedUnlabeled) and needs_leakage_stage(context)):
        return context
    unlabeled = unlabeled.without(_find_leakage(context, unlabeled))
    if unlabeled.left_out:
        context.reporter.say(printable(left_out_sentence("the unlabeled set", unlabeled.left_out)))
    return replace(context, splits=replace(context.splits, unlabeled=unlabeled))


def needs_leakage_stage(context: RunContext) -> bool:
    """Whether the run has this stage: its unlabeled set is streamed, and something is held out."""
    splits = context.splits
    return isinstance(splits.unlabeled, StreamedUnlabeled) and bool(splits.validation or splits.test)


def _find_leakage(context: RunContext, unlabeled: StreamedUnlabeled) -> list[Excluded]:
    splits, group, folder = context.splits, context.engine.group, context.folder_of(LEAKAGE)
    distance = context.settings.data.near_duplicates
    inputs: dict[str, Any] = {
        "unlabeled": unlabeled.fingerprint,
        "files": dict(unlabeled.source.files),
        "held_out": [source.fingerprint if source else None for source in (splits.validation, splits.test)],
        "near_duplicates": distance,
    }
    if not context.is_complete(LEAKAGE, inputs):
        indexes = splits.duplicate_indexes(distance)
        shards = range(group.rank, len(unlabeled.shard_sizes), group.world_size)
        with context.reporter.bar(LEAKAGE, sum(unlabeled.shard_sizes[shard] for shard in shards), "images") as bar:
            for shard in shards:
                path = _matches_path(folder, shard)
                if not path.exists():
                    write_json(path, asdict(match_shard(unlabeled.read(shard), indexes)))
                bar.advance(unlabeled.shard_sizes[shard])
        group.wait()

        def finish() -> None:
            paths = [_matches_path(folder, shard) for shard in range(len(unlabeled.shard_sizes))]
            left_out = merge_matches([_read_matches(path) for path in paths], indexes)
            check_some_left(sum(unlabeled.shard_sizes), left_out)
            write_json(folder / _LEFT_OUT, [asdict(image) for image in left_out])
            context.commit(LEAKAGE, inputs, StageCost(name=LEAKAGE))
            for path in paths:
                path.unlink()

        group.on_main(finish)
    return [Excluded(**image) for image in read_json(folder / _LEFT_OUT)]


def _matches_path(folder: Path, shard: int) -> Path:
    return folder / f".look-{shard:05d}.json"


def _read_matches(path: Path) -> ShardMatches:
    matches = read_json(path)
    near_duplicates = [NearDuplicates(**source) for source in matches["alike"]]
    return ShardMatches([tuple(pair) for pair in matches["identical"]], near_duplicates)
