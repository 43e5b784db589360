"""The `xe` command line, as far as storage goes; `tests/lab/xe` runs it."""
