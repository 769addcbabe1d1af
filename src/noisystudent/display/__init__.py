"""How numbers are written and drawn in the terminal and on the page; no torch."""
