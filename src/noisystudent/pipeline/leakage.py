"""A stage before all others: which pictures of the pile are also held out, or look it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import commit, read_json, write_json
from noisystudent.data.dedup.leakage import Alike, LeftOut, Look, look_at, settle_looks
from noisystudent.data.unlabeled import StreamedPile, check_some_left
from noisystudent.pipeline.context import Workshop

SCREEN = "screen"  # the kind in a manifest, and the name of the stage
_LEFT_OUT = "left-out.json"


def screened(workshop: Workshop, name: str = SCREEN) -> Workshop:
    """The workshop with the held-out pictures left out of its pile, and said.

    Of a pile in memory they have been left out already. A streamed one is looked through, once, in the folder
    ``name``: shard by shard, so that a killed run goes on where it was, and shared by the processes of torchrun.
    """
    pile = workshop.roles.unlabeled
    if isinstance(pile, StreamedPile) and is_screened(workshop):
        pile = pile.without(_look_through(workshop, pile, name))
        workshop = replace(workshop, roles=replace(workshop.roles, unlabeled=pile))
    if pile.left_out:
        looks = sum(each.found == "near-duplicate" for each in pile.left_out)
        workshop.reporter.say(
            f"left out of the unlabeled: {len(pile.left_out)} pictures that are also validation or test pictures "
            f"({len(pile.left_out) - looks} identical, {looks} near-duplicates)"
        )
    return workshop


def is_screened(workshop: Workshop) -> bool:
    """Whether the run has this stage: its pile is streamed, and something is held out."""
    roles = workshop.roles
    return isinstance(roles.unlabeled, StreamedPile) and bool(roles.validation or roles.test)


def _look_through(workshop: Workshop, pile: StreamedPile, name: str) -> list[LeftOut]:
    roles, ranks, folder = workshop.roles, workshop.engine.ranks, workshop.folder / name
    distance = workshop.settings.data.near_duplicates
    inputs: dict[str, Any] = {
        "unlabeled": pile.fingerprint,
        "files": dict(pile.source.files),
        "held_out": [each.fingerprint if each else None for each in (roles.validation, roles.test)],
        "near_duplicates": distance,
    }
    if not workshop.is_done(name, inputs):
        searches = roles.searches(distance)
        shards = range(ranks.rank, len(pile.shard_sizes), ranks.count)
        with workshop.reporter.bar(name, sum(pile.shard_sizes[shard] for shard in shards), "pictures") as bar:
            for shard in shards:
                path = _look_path(folder, shard)
                if not path.exists():
                    write_json(path, asdict(look_at(pile.read(shard), searches)))
                bar.advance(pile.shard_sizes[shard])
        ranks.wait()

        def finish() -> None:
            paths = [_look_path(folder, shard) for shard in range(len(pile.shard_sizes))]
            left_out = settle_looks([_read_look(path) for path in paths], searches)
            check_some_left(sum(pile.shard_sizes), left_out)
            write_json(folder / _LEFT_OUT, [asdict(each) for each in left_out])
            commit(folder, SCREEN, inputs)
            for path in paths:
                path.unlink()

        ranks.first_says(finish)
    return [LeftOut(**each) for each in read_json(folder / _LEFT_OUT)]


def _look_path(folder: Path, shard: int) -> Path:
    return folder / f".look-{shard:05d}.json"


def _read_look(path: Path) -> Look:
    told = read_json(path)
    return Look([tuple(pair) for pair in told["identical"]], [Alike(**each) for each in told["alike"]])
