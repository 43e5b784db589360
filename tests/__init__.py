"""The tests of smblock."""
