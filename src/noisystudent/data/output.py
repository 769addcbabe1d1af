"""Where a command may write: never onto, into or around a source, and never over files of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from noisystudent.artifacts.ownership import require_no_file_above, require_own_folder
from noisystudent.artifacts.temporary import remove_abandoned
from noisystudent.data.files import is_url
from noisystudent.data.source import Source
from noisystudent.data.sources.open import local_path
from noisystudent.errors import SettingsError
from noisystudent.runtime.terminal import escaped

SourceLike = str | Path | Source | None


def require_output_folder(
    out: str | Path,
    sources: Iterable[SourceLike],
    artifacts: Iterable[str | Path | None] = (),
    *,
    store: bool = False,
) -> None:
    """Raises unless a command may write its folder ``out``, before it makes or computes anything.

    Args:
        out: The folder, or its URL.
        sources: The sources of the command; None for those that are not given.
        artifacts: Folders or URLs of earlier work that the command reads, such as a checkpoint.
        store: Whether the command can write to the URL of a folder in a store.

    Raises:
        SettingsError: ``out`` is empty or a URL that the command cannot write to; or the folder is or contains a source
            or an artifact, lies in a source, or is a file.
        ArtifactError: It holds files that this program did not write.
    """
    _require_place(out, store=store)
    _require_apart(out, sources)
    for artifact in artifacts:
        if artifact is None or not (is_url(str(artifact)) or Path(artifact).exists()):  # such as timm:NAME
            continue
        if (relation := _relation(str(out), str(artifact))) in ("is", "contains"):
            raise SettingsError(
                f"--out {str(out)!r} {relation} {str(artifact)!r}, which the command reads. Give another --out."
            )
    if not is_url(str(out)):
        require_own_folder(Path(out))


def require_output_file(
    out: str | Path, sources: Iterable[SourceLike], *, ending: str, is_own: Callable[[Path], bool]
) -> None:
    """Raises unless a command may write its file ``out``, and removes what killed commands left half-written beside it.

    Args:
        out: The file.
        sources: The sources of the command.
        ending: The ending of such a file, for messages, such as ``.csv``.
        is_own: Whether this program wrote the file at a path; only such a file is replaced.

    Raises:
        SettingsError: The file is a folder, a source, lies in a source, or is a file that this program did not write.
    """
    _require_place(out)
    _require_apart(out, sources)
    path = Path(out)
    require_no_file_above(path)
    if path.is_dir():
        raise SettingsError(f"--out {str(out)!r} is a folder; give the name of a {ending} file.")
    if path.exists() and not path.is_file():  # such as /dev/stdout
        return
    if path.exists() and path.stat().st_size and not is_own(path):
        raise SettingsError(
            f"--out {str(out)!r} is a file that noisystudent did not write. Nothing was changed: give another "
            "--out, or move it away."
        )
    remove_abandoned(path.parent)


def _require_place(out: str | Path, *, store: bool = False) -> None:
    """Raises ``SettingsError`` for text that names no place to write to: empty, not printable, or a URL."""
    text = str(out)
    if not text.strip():
        raise SettingsError("--out is empty; give a name.")
    if escaped(text, keep="") != text:
        raise SettingsError(f"--out {text!r} has characters that cannot be printed; give another name.")
    if is_url(text) and not store:
        raise SettingsError(f"--out {text!r} is a URL, and only label writes to one; give a local path.")


def _require_apart(out: str | Path, sources: Iterable[SourceLike]) -> None:
    for source in sources:
        # An own source may have any name; what is no source at all is refused when it is opened.
        name = str(source if isinstance(source, str | Path) else getattr(source, "name", ""))
        relation = _relation(str(out), name) if name else ""
        if relation:
            raise SettingsError(
                f"--out {str(out)!r} {relation} the source {name!r}, so results would mix with the images. "
                "Give an --out beside it."
            )


def _relation(out: str, source: str) -> str:
    return _relation_of_urls(out, source) or _relation_of_paths(out, source)


def _relation_of_paths(out: str, source: str) -> str:
    place = local_path(source)
    if place is None or is_url(out):
        return ""
    target, place = Path(out).resolve(), place.resolve()
    if target == place:
        return "is"
    if place in target.parents:
        return "lies in"
    return "contains" if target in place.parents else ""


def _relation_of_urls(out: str, source: str) -> str:
    if not (is_url(out) and is_url(source)):
        return ""
    out, source = out.rstrip("/"), source.rstrip("/")
    if out == source:
        return "is"
    if out.startswith(f"{source}/"):
        return "lies in"
    return "contains" if source.startswith(f"{out}/") else ""
