"""The command line: one file per command, and the views that print results."""
