"""A stage before all others: which images of the pile are also held out, or look it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import commit, read_json, write_json
from noisystudent.data.dedup.leakage import Excluded, NearDuplicates, ShardMatches, match_shard, merge_matches
from noisystudent.data.unlabeled import StreamedUnlabeled, check_some_left
from noisystudent.pipeline.context import RunContext

SCREEN = "screen"  # the kind in a manifest, and the name of the stage
_LEFT_OUT = "left-out.json"


def remove_leakage(context: RunContext, name: str = SCREEN) -> RunContext:
    """The workshop with the held-out images left out of its pile, and said.

    Of a pile in memory they have been left out already. A streamed one is looked through, once, in the folder
    ``name``: shard by shard, so that a killed run goes on where it was, and shared by the processes of torchrun.
    """
    unlabeled = context.splits.unlabeled
    if isinstance(unlabeled, StreamedUnlabeled) and needs_leakage_stage(context):
        unlabeled = unlabeled.without(_look_through(context, unlabeled, name))
        context = replace(context, splits=replace(context.splits, unlabeled=unlabeled))
    if unlabeled.left_out:
        looks = sum(each.found == "near-duplicate" for each in unlabeled.left_out)
        context.reporter.say(
            f"left out of the unlabeled: {len(unlabeled.left_out)} images that are also validation or test images "
            f"({len(unlabeled.left_out) - looks} identical, {looks} near-duplicates)"
        )
    return context


def needs_leakage_stage(context: RunContext) -> bool:
    """Whether the run has this stage: its pile is streamed, and something is held out."""
    splits = context.splits
    return isinstance(splits.unlabeled, StreamedUnlabeled) and bool(splits.validation or splits.test)


def _look_through(context: RunContext, unlabeled: StreamedUnlabeled, name: str) -> list[Excluded]:
    splits, group, folder = context.splits, context.engine.group, context.folder / name
    distance = context.settings.data.near_duplicates
    inputs: dict[str, Any] = {
        "unlabeled": unlabeled.fingerprint,
        "files": dict(unlabeled.source.files),
        "held_out": [each.fingerprint if each else None for each in (splits.validation, splits.test)],
        "near_duplicates": distance,
    }
    if not context.is_done(name, inputs):
        duplicate_indexes = splits.duplicate_indexes(distance)
        shards = range(group.rank, len(unlabeled.shard_sizes), group.world_size)
        with context.reporter.bar(name, sum(unlabeled.shard_sizes[shard] for shard in shards), "images") as bar:
            for shard in shards:
                path = _look_path(folder, shard)
                if not path.exists():
                    write_json(path, asdict(match_shard(unlabeled.read(shard), duplicate_indexes)))
                bar.advance(unlabeled.shard_sizes[shard])
        group.wait()

        def finish() -> None:
            paths = [_look_path(folder, shard) for shard in range(len(unlabeled.shard_sizes))]
            left_out = merge_matches([_read_look(path) for path in paths], duplicate_indexes)
            check_some_left(sum(unlabeled.shard_sizes), left_out)
            write_json(folder / _LEFT_OUT, [asdict(each) for each in left_out])
            commit(folder, SCREEN, inputs)
            for path in paths:
                path.unlink()

        group.on_main(finish)
    return [Excluded(**each) for each in read_json(folder / _LEFT_OUT)]


def _look_path(folder: Path, shard: int) -> Path:
    return folder / f".look-{shard:05d}.json"


def _read_look(path: Path) -> ShardMatches:
    told = read_json(path)
    return ShardMatches([tuple(pair) for pair in told["identical"]], [NearDuplicates(**each) for each in told["alike"]])
