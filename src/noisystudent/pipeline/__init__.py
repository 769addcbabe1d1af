"""The rounds: label, select, train, evaluate, again; a verdict at the end."""
