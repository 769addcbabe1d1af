"""What training takes from a teacher's predictions: how many copies of each row, and why the others are left.

Two rules:

- ``threshold`` (Xie et al. 2020, section 3.2): keep rows whose confidence reaches the threshold; per predicted class
  at most a target number, the most confident first; a class below the target is filled up with copies.
- ``curriculum`` (after Cascante-Bonilla et al. 2021, "Curriculum Labeling"): in round r keep the most confident
  r x fraction of the rows of every predicted class, so that early mistakes never grow into a class of their own.

Both are exactly what sorting each class by confidence, then row, would give, without sorting: passes over the parts
add up histograms per class (``counts.py``), the last place of each class is found by histograms of finer and finer
steps (``cutoff.py``), and copies are dealt by a permutation that is a formula (``copies.py``). Memory is a few parts
and a few numbers per class and step, however many rows there are. NumPy and pyarrow only.

A selection has a part for each part of the predictions, of the same name, with a row for each of its rows, in its
order and in its row groups: ``copies`` (uint16, 0 = left) and ``reason`` (a dictionary of a few words). What a row is
called and was taken for stands in the predictions, which the selection's manifest names by their fingerprint.
"""

from noisystudent.pseudo_labels.selection.counts import BINS, Counts, count_rows
from noisystudent.pseudo_labels.selection.parts import SELECTION
from noisystudent.pseudo_labels.selection.select import reuse, select
from noisystudent.pseudo_labels.selection.settings import SelectionSettings

__all__ = ["BINS", "SELECTION", "Counts", "SelectionSettings", "count_rows", "reuse", "select"]
