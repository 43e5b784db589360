"""The tests of the lab: its parts do what the tests of smblock rely on."""
