"""The lines about a source: classes and counts, and everything that is not used, with numbers and first names."""

from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.dedup.repeats import Conflict
from noisystudent.data.images import Failure
from noisystudent.data.source import PassedOver
from noisystudent.data.summary import SourceSummary
from noisystudent.display.sources import class_sentence, source_lines


def test_a_source_without_peculiarities_has_one_line():
    source = SourceSummary(name="photos", images=1204, per_class={"cat": 1200, "dog": 4}, passed_over=())
    line = "labeled: 1,204 images from photos; 2 classes: cat (1,200), dog (4); nothing passed over"
    assert source_lines("labeled", source) == [line]
    own = SourceSummary(name="mine", images=1, note="streamed")
    assert source_lines("unlabeled", own) == ["unlabeled: 1 image from mine; streamed"]


def test_many_classes_are_counted_with_the_smallest_and_the_largest():
    per_class = {f"c{number}": number for number in range(1, 22)}
    assert class_sentence(per_class) == "21 classes of 1 ('c1') to 21 ('c21') images each"
    assert class_sentence(dict.fromkeys(per_class, 5)) == "21 classes of 5 images each"
    del per_class["c21"]
    assert class_sentence(per_class).startswith("20 classes: c1 (1), c2 (2),")


def test_everything_that_is_not_used_is_named_with_its_number():
    source = SourceSummary(
        name="photos",
        images=9,
        failures=tuple(Failure(f"{number}.png", "the file is empty") for number in range(5)),
        passed_over=(PassedOver("files that end in .txt", 2, ("a.txt", "b.txt")), PassedOver("links", 9, ("x",))),
        notes=("the class folder 'test' looks like a part",),
        conflicts=(Conflict(("cat/1.png", "dog/1.png"), ("cat", "dog")),),
        repeats=2,
        left_out=(Excluded("a", "b", "identical"), Excluded("c", "d", "near-duplicate")),
    )
    first, *details = source_lines("labeled", source)
    assert first == "labeled: 9 images from photos; 5 unreadable"
    assert details == [
        "  passed over: files that end in .txt (2): 'a.txt', 'b.txt'",
        "  passed over: links (9): 'x' and 8 more",
        "  unreadable: '0.png' (the file is empty), '1.png' (the file is empty), '2.png' (the file is empty) and 2 "
        "more",
        "  1 image is in two or more classes: 'cat/1.png' (cat) and 'dog/1.png' (dog). All copies count as they are; "
        "keep each in the class that is right",
        "  2 images of a class that has the same image already",
        "  note: the class folder 'test' looks like a part",
        "  left out of the labeled set: 2 images, also among the validation or test images (1 identical, 1 "
        "near-duplicates): 'a' (identical: 'b'), 'c' (near-duplicate: 'd')",
    ]


def test_escape_sequences_never_reach_the_terminal():
    evil = "\x1b[31mred"
    source = SourceSummary(
        name=evil,
        images=1,
        per_class={evil: 1},
        failures=(Failure(evil, evil),),
        passed_over=(PassedOver(evil, 1, (evil,)),),
        notes=(evil,),
        conflicts=(Conflict((evil, "x"), (evil, "y")),),
        left_out=(Excluded(evil, evil, "identical"),),
    )
    assert "\x1b" not in "".join(source_lines("labeled", source))
