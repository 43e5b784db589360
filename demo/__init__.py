"""The demos: `make demo` shows an SR of type cephrbd, `make demo-crucible` one of type crucible."""
