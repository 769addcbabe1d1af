"""The commands of the command line, each a function that adds its options to a parser, parses and runs."""
