"""The page and the table of a run, made from its folder without torch."""
