"""The stages between a teacher and its student: who labels, what the labels are moved by, what is selected."""
