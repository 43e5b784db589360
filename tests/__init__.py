"""The tests of smblock: promises in the user's words, kept on real parts."""
