"""The `xe` command line for storage; `lab/xe` runs it."""
