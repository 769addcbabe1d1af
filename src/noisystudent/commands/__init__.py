"""The verbs of the command line, each a function that adds its options to a parser, reads the words and calls."""
