"""What a run may cost: a few seconds of measurement choose the settings that the user left open."""
