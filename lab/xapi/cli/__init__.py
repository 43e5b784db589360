"""The `xe` command line, as far as storage goes; `lab/xe` runs it."""
