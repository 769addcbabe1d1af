"""Robustness of a classifier on pictures at hand: who is measured, on what, and the measures one after another."""
