"""Images in: sources, decoding, splits and the order in which training sees them; no torch in this room."""
