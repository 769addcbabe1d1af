"""Rounds on a frozen backbone: its features are computed once, and teachers and students are heads on them."""
