"""What an audit of sources found, as lines for the terminal: facts, then what to look at, then what to do."""

from __future__ import annotations

from noisystudent.display.wording import percent, plural, printable
from noisystudent.results.check import DataCheck, ImageSizes
from noisystudent.results.findings import LabelIssue

NAMES_SHOWN = 3
ISSUES_SHOWN = 20
UNEVEN = 10  # times as many labels of the largest class as of the smallest


def check_lines(found: DataCheck) -> list[str]:
    """The lines below those about each source, which the reading of the sources prints."""
    lines = [line for role, sizes in found.sizes.items() for line in _size_lines(role, sizes)]
    lines += _balance_lines(found)
    lines += _label_lines(found)
    return [printable(line) for line in lines]


def things_to_mend(found: DataCheck) -> int:
    """How many findings there are that a user should look at before training."""
    of_sources = sum(
        len(source.failures) + len(source.conflicts) + len(source.left_out) for source in found.sources.values()
    )
    return of_sources + len(found.label_issues or ())


def _size_lines(role: str, sizes: ImageSizes) -> list[str]:
    lines = [
        f"{role}: short edge {sizes.median} px in the middle; edges from {sizes.smallest} to {sizes.largest} px "
        f"({plural(sizes.read, 'image')} read)"
    ]
    if sizes.small:
        lines.append(f"  {plural(len(sizes.small), 'image')} of less than half of that: {_names(sizes.small)}")
    if sizes.long:
        lines.append(f"  {plural(len(sizes.long), 'image')} over three times as long as wide: {_names(sizes.long)}")
    return lines


def _balance_lines(found: DataCheck) -> list[str]:
    counts = (found.sources["labeled"].per_class or {}) if "labeled" in found.sources else {}
    present = {name: count for name, count in counts.items() if count}
    if not present:
        return []
    fewest, most = min(present, key=lambda name: present[name]), max(present, key=lambda name: present[name])
    if present[most] < UNEVEN * present[fewest]:
        return []
    return [
        f"labels: {present[most]:,} of {most!r} and {present[fewest]:,} of {fewest!r}. If the unlabeled images are as "
        "uneven, give --selection.prior labels (docs/data.md)"
    ]


def _label_lines(found: DataCheck) -> list[str]:
    if found.label_issues is None:
        return ["labels that look wrong: not looked for (a backbone and two labels per class are needed; --backbone)"]
    lines = [f"labels that look wrong to {found.backbone}: {len(found.label_issues)}"]
    lines += [f"  {_issue(issue)}" for issue in found.label_issues[:ISSUES_SHOWN]]
    if len(found.label_issues) > ISSUES_SHOWN:
        lines.append(f"  and {len(found.label_issues) - ISSUES_SHOWN:,} more")
    return lines


def _issue(issue: LabelIssue) -> str:
    return f"{issue.key}: labeled {issue.label!r}, looks like {issue.prediction!r} ({percent(issue.confidence, 0)})"


def _names(keys: tuple[str, ...]) -> str:
    more = len(keys) - NAMES_SHOWN
    return ", ".join(repr(key) for key in keys[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
