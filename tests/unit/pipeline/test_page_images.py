"""Images for the page: the originals by key, whatever happens to their source."""

import numpy as np
import pytest
from PIL import Image

from noisystudent.data.sources.folder import FolderSource
from noisystudent.pipeline.page_images import LONGEST, SourceImages
from noisystudent.results.facts import RunFacts, SourceFacts, StoredFormat


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for name, size in (("cat/small.png", (40, 30)), ("dog/large.png", (900, 600)), ("dog/gone.png", (8, 8))):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(path)
    return root


def facts_of(root, size=8) -> RunFacts:
    sources = {
        "labeled": SourceFacts(name="x", images=3, fingerprint="other", classes=("cat", "dog")),
        "unlabeled": SourceFacts(name=str(root), images=3, fingerprint=FolderSource(root, labeled=False).fingerprint),
    }
    given = {"unlabeled": str(root), "labeled": str(root)}
    return RunFacts(
        version="1", command=(), settings=given, format=StoredFormat(size=size, channels=3), sources=sources
    )


def test_images_are_the_originals_at_their_size_or_the_largest_that_a_page_takes(photos):
    found = SourceImages(facts_of(photos))("unlabeled", ["cat/small.png", "dog/large.png", "no/such.png"])
    assert {key: pixels.shape for key, pixels in found.items()} == {
        "cat/small.png": (30, 40, 3),
        "dog/large.png": (round(LONGEST * 600 / 900), LONGEST, 3),
    }


def test_an_unreadable_image_is_left_out(photos):
    facts = facts_of(photos)
    (photos / "dog" / "gone.png").write_bytes(b"no image")
    assert SourceImages(facts, known_same=True)("unlabeled", ["dog/gone.png"]) == {}


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_source_that_changed_or_is_gone_gives_nothing(photos, what, tmp_path):
    facts = facts_of(photos)
    if what == "changed":
        (photos / "cat" / "small.png").unlink()
    else:
        photos.rename(tmp_path / "elsewhere")
    images = SourceImages(facts)
    assert images("unlabeled", ["dog/large.png"]) == {}
    assert images.truth() == {}
    assert images("labeled", ["dog/large.png"]) == {}  # another fingerprint
    assert images("test", ["dog/large.png"]) == {}  # no such source


def test_true_classes_are_indices_of_the_classes_of_the_run(photos):
    assert SourceImages(facts_of(photos)).truth() == {"cat/small.png": 0, "dog/gone.png": 1, "dog/large.png": 1}
