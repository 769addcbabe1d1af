"""The page and the table that every run ends with; reads a run folder, needs no torch."""
