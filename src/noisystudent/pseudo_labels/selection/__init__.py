"""Selection of pseudo labels: how many copies of each row train, and the reason for every row that is left out.

Two rules:

- ``threshold`` (Xie et al. 2020, section 3.2): keep the rows whose confidence reaches the threshold; keep at most a
  target number per predicted class, the most confident first; fill up a class below the target with copies.
- ``curriculum`` (after Cascante-Bonilla et al. 2021, "Curriculum Labeling"): in round r, keep the most confident
  r x fraction of the rows of every predicted class. The balance per class keeps early mistakes from dominating.

Both give exactly what sorting every class by confidence, then by row, would give, but without sorting. Passes over the
parts add up histograms per class (``counts.py``), histograms with finer and finer bins find the last row of each class
(``cutoff.py``), and a permutation with a closed form distributes the copies (``copies.py``). The memory needed is a
few parts plus a few numbers per class and bin, for any number of rows. Only NumPy and pyarrow are needed.

A selection has one part per part of the predictions, with the same name, rows, order and row groups. Its columns are
``copies`` (uint16, 0 = left out) and ``reason`` (a dictionary of a few words). The key, class and confidence of a row
are in the predictions, whose fingerprint is in the manifest of the selection.
"""
