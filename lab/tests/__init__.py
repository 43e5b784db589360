"""Tests of the lab, which the tests of smblock use."""
