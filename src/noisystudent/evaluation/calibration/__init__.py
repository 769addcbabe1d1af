"""Calibration before and after temperature scaling, clean and under corruption."""
