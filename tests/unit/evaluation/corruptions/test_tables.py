"""The published parameters, typed a second time row by row, and properties that they must have."""

import re

import pytest

from noisystudent.errors import SettingsError
from noisystudent.evaluation.corruptions.tables import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    TABLES,
    TEST_CORRUPTIONS,
    level_of,
    table_for,
)

# One line per corruption and size, as in the generators; "x" is the size that elastic parameters are multiples of.
PUBLISHED = """
gaussian_noise 32: .04 .06 .08 .09 .10
gaussian_noise 64: .04 .08 .12 .15 .18
gaussian_noise 224: .08 .12 .18 .26 .38
gaussian_noise 299: .09 .13 .19 .27 .40
shot_noise 32: 500 250 100 75 50
shot_noise 64: 250 100 50 30 15
shot_noise 224: 60 25 12 5 3
shot_noise 299: 50 20 10 5 3
impulse_noise 32: .01 .02 .03 .05 .07
impulse_noise 64: .01 .02 .05 .08 .14
impulse_noise 224: .03 .06 .09 .17 .27
impulse_noise 299: .04 .07 .10 .18 .28
speckle_noise 32: .06 .1 .12 .16 .2
speckle_noise 64: .15 .2 .25 .3 .35
speckle_noise 224: .15 .2 .35 .45 .6
speckle_noise 299: .16 .21 .36 .46 .61
gaussian_blur 32: .4 .6 .7 .8 1
gaussian_blur 64: .5 .75 1 1.25 1.5
gaussian_blur 224: 1 2 3 4 6
gaussian_blur 299: 1.5 2.5 3.5 4.5 6.5
defocus_blur 32: .3,.4 .4,.5 .5,.6 1,.2 1.5,.1
defocus_blur 64: .5,.6 1,.1 1.5,.1 2.5,.01 3,.1
defocus_blur 224: 3,.1 4,.5 6,.5 8,.5 10,.5
defocus_blur 299: 4,.1 5,.5 7,.5 10,.5 12,.5
glass_blur 32: .05,1,1 .25,1,1 .4,1,1 .25,1,2 .4,1,2
glass_blur 64: .1,1,1 .5,1,1 .6,1,2 .7,2,1 .9,2,2
glass_blur 224: .7,1,2 .9,2,1 1,2,3 1.1,3,2 1.5,4,2
glass_blur 299: .8,1,3 1,3,1 1.1,2,4 1.2,4,2 1.6,5,2
motion_blur 32: 6,1 6,1.5 6,2 8,2 9,2.5
motion_blur 64: 10,1 10,1.5 10,2 10,2.5 12,3
motion_blur 224: 10,3 15,5 15,8 15,12 20,15
motion_blur 299: 12,4 17,6 17,9 17,13 22,16
zoom_blur 32 64: 1.06,.01 1.11,.01 1.16,.01 1.21,.01 1.26,.01
zoom_blur 224 299: 1.11,.01 1.16,.01 1.21,.02 1.26,.02 1.31,.03
snow 32: .1,.2,1,.6,8,3,.95 .1,.2,1,.5,10,4,.9 .15,.3,1.75,.55,10,4,.9 .25,.3,2.25,.6,12,6,.85 .3,.3,1.25,.65,14,12,.8
snow 64: .1,.2,1,.6,8,3,.8 .1,.2,1,.5,10,4,.8 .15,.3,1.75,.55,10,4,.7 .25,.3,2.25,.6,12,6,.65 .3,.3,1.25,.65,14,12,.6
snow 224 299: .1,.3,3,.5,10,4,.8 .2,.3,2,.5,12,4,.7 .55,.3,4,.9,12,8,.7 .55,.3,4.5,.85,12,8,.65 .55,.3,2.5,.85,12,12,.55
frost 32: 1,.2,.2 1,.3,.2 .9,.4,.2 .85,.4,.2 .75,.45,.2
frost 64: 1,.3,.3 .9,.4,.3 .8,.45,.3 .75,.5,.3 .7,.55,.3
frost 224 299: 1,.4,1 .8,.6,1 .7,.7,1 .65,.7,1 .6,.75,1
fog 32: .2,3 .5,3 .75,2.5 1,2 1.5,1.75
fog 64: .4,3 .7,3 1,2.5 1.5,2 2,1.75
fog 224: 1.5,2 2,2 2.5,1.7 2.5,1.5 3,1.4
fog 299: 1.5,2 2,2 2.5,1.8 2.5,1.6 3,1.5
brightness 32: .05 .1 .15 .2 .3
brightness 64 224 299: .1 .2 .3 .4 .5
contrast 32: .75 .5 .4 .3 .15
contrast 64 224 299: .4 .3 .2 .1 .05
elastic_transform 32 x32: 0,0,.08 .05,.2,.07 .08,.06,.06 .1,.04,.05 .1,.03,.03
elastic_transform 64 x64: 0,0,.08 .05,.3,.06 .1,.08,.06 .1,.03,.03 .16,.03,.02
elastic_transform 224 x244: 2,.7,.1 2,.08,.2 .05,.01,.02 .07,.01,.02 .12,.01,.02
elastic_transform 299 x360: 2,.7,.1 2,.08,.2 .05,.01,.02 .07,.01,.02 .12,.01,.02
pixelate 32: .95 .9 .85 .75 .65
pixelate 64: .9 .8 .7 .6 .5
pixelate 224: .6 .5 .4 .3 .25
pixelate 299: .5 .4 .3 .25 .2
jpeg_compression 32: 80 65 58 50 40
jpeg_compression 64: 65 58 50 40 25
jpeg_compression 224: 25 18 15 10 7
jpeg_compression 299: 23 16 13 8 5
spatter 32: .62,.1,.7,.7,.5,0 .65,.1,.8,.7,.5,0 .65,.3,1,.69,.5,0 .65,.1,.7,.69,.6,1 .65,.1,.5,.68,.6,1
spatter 64: .62,.1,.7,.7,.6,0 .65,.1,.8,.7,.6,0 .65,.3,1,.69,.6,0 .65,.1,.7,.68,.6,1 .65,.1,.5,.67,.6,1
spatter 224: .65,.3,4,.69,.6,0 .65,.3,3,.68,.6,0 .65,.3,2,.68,.5,0 .65,.3,1,.65,1.5,1 .67,.4,1,.65,1.5,1
spatter 299: .65,.3,4,.69,.9,0 .65,.3,3.5,.68,.9,0 .65,.3,3,.68,.8,0 .65,.3,1.2,.65,1.8,1 .67,.4,1.2,.65,1.8,1
saturate 32: .3,0 .1,0 1.5,0 2,.1 2.5,.2
saturate 64: .3,0 .1,0 2,0 5,.1 30,.2
saturate 224 299: .3,0 .1,0 2,0 5,.1 20,.2
"""


def published() -> dict[tuple[str, int], list[list[float]]]:
    levels_by_name = {}
    for line in PUBLISHED.strip().splitlines():
        head, levels = line.split(":")
        name, *sizes = head.split()
        base = float(sizes.pop()[1:]) if sizes[-1].startswith("x") else 1.0
        numbers = [[base * float(number) for number in level.split(",")] for level in levels.split()]
        levels_by_name.update({(name, int(size)): numbers for size in sizes})
    return levels_by_name


def test_the_tables_are_the_published_ones():
    expected = published()
    assert set(expected) == {(name, size) for name in CORRUPTIONS for size in TABLES}
    for (name, size), levels in expected.items():
        assert len(levels) == 5
        for severity, level in enumerate(levels, start=1):
            assert level_of(name, severity, size) == pytest.approx(tuple(level), rel=1e-12), (name, size, severity)


def test_there_are_fifteen_test_corruptions_and_four_extra_ones():
    assert len(TEST_CORRUPTIONS) == 15
    assert len(set(CORRUPTIONS)) == 19
    assert set(EXTRA_CORRUPTIONS) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert all(set(table) == set(CORRUPTIONS) for table in TABLES.values())


def test_a_higher_severity_is_stronger_for_corruptions_with_one_parameter():
    for table in TABLES.values():
        for name in ("gaussian_noise", "impulse_noise", "speckle_noise", "brightness", "gaussian_blur"):
            levels = [level[0] for level in table[name]]
            assert levels == sorted(levels)
        for name in ("shot_noise", "contrast", "pixelate", "jpeg_compression"):
            levels = [level[0] for level in table[name]]
            assert levels == sorted(levels, reverse=True)


def test_the_table_nearest_by_ratio_is_used():
    tables = {8: 32, 28: 32, 32: 32, 45: 32, 46: 64, 64: 64, 96: 64, 119: 64, 120: 224, 224: 224, 256: 224, 258: 224}
    tables |= {259: 299, 299: 299, 384: 299, 800: 299}
    assert {size: table_for(size) for size in tables} == tables


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5])
def test_an_unknown_severity_is_refused(severity):
    with pytest.raises(SettingsError, match=re.escape(f"1, 2, 3, 4 or 5, not {severity!r}")):
        level_of("fog", severity, 32)


def test_an_unknown_name_or_table_is_refused():
    with pytest.raises(SettingsError, match=r"no corruption 'motion_blurr'. Did you mean 'motion_blur'\?"):
        level_of("motion_blurr", 1, 32)
    with pytest.raises(SettingsError, match="no table of corruptions for 128 px"):
        level_of("fog", 1, 128)
