"""Measuring a classifier: predictions on a source, and named numbers from them."""
