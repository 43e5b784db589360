# `make help` lists the targets. They run from a fresh clone on Debian 12.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# Shell scripts have no suffix here: they are found by their first line.
SHELL_SCRIPTS = $(shell git grep -lE '^\#!/bin/(ba)?sh' -- ':!docs' ':!*.py')
CARGO_DENY := 0.20.2
CARGO_MACHETE := 0.9.2
# A workspace of its own: docs/decisions/0006-own-librados-binding.md
ORACLE := --manifest-path lab/oracle/Cargo.toml
ADVISORIES := $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

.PHONY: help
help: ## List the targets
	@sed -n -e 's/^##@ /\n/p' -e 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 27

##@ Try it
.PHONY: demo
demo: wheel ## Show the life of a disk: created, written on one host, read on another, destroyed
	$(BIN)/python -m demo

.PHONY: demo-crucible
demo-crucible: wheel ## Show a Crucible volume in use on two hosts while one of its copies dies
	$(BIN)/python -m demo.crucible

.PHONY: lab
lab: wheel ## Open a shell with a Ceph cluster, two hosts and xe; HOSTS=local starts quicker, without kernels
	@$(BIN)/python -m lab.shell $(if $(HOSTS),--hosts $(HOSTS))

##@ Build
.PHONY: deps
deps: ## Install missing Debian packages, Rust, and Python tools in .venv
	@scripts/install-prerequisites </dev/null # stdin is for make lab

.PHONY: wheel
wheel: deps ## Build target/wheels/smblock-*.whl and prove that it loads in a dom0
	@scripts/build-wheel </dev/null

.PHONY: rpm
rpm: wheel ## Build the RPM for XCP-ng's hosts, and the archive for install.sh, in target/dist
	@scripts/build-rpm </dev/null

.PHONY: release
release: wheel ## Build all files of a release in target/dist; SMBLOCK_SIGN_KEY=ID signs them
	@scripts/build-release </dev/null

##@ Test
.PHONY: test
test: export CARGO_INCREMENTAL = 0
test: wheel ## Run the tests: Rust's, then those on a real Ceph and a real kernel
	cargo test --workspace --locked
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-slow
test-slow: wheel ## Run the long tests, which `make test` leaves out
	$(BIN)/pytest -m slow
	cargo test --quiet --locked -p sr-ceph -- --ignored
	for n in 1 2 3 4 5 6 7 8; do seed=$$RANDOM; echo "PROPTEST_RNG_SEED=$$seed"; \
	PROPTEST_RNG_SEED=$$seed cargo test --quiet --locked -p sr-ceph --test it -- model::; done

.PHONY: test-crucible
test-crucible: wheel ## Run every test of Crucible volumes, with CRUCIBLE_BIN=DIRECTORY on those programs
	$(BIN)/pytest -m 'slow or not slow' {tests,lab/tests}/test_*crucible*.py tests/test_host_death.py

.PHONY: test-compat
test-compat: wheel ## Test with the Ceph, kernels and Pythons of Debian 11 to unstable; write docs/user/compatibility.md
	cargo fetch --locked --quiet # the cells have no network
	$(BIN)/python -m tests.compat.run

.PHONY: test-compat-small
test-compat-small: wheel ## Test with the oldest client and kernel and the newest Ceph cluster
	cargo fetch --locked --quiet
	$(BIN)/python -m tests.compat.run --small

##@ Develop
.PHONY: bench
bench: wheel ## Measure the driver beside the rbd and ceph commands, and beside the bare calls
	$(BIN)/python -m bench

.PHONY: fuzz
fuzz: deps ## Look for inputs that crash a parser: 10 million executions
	@scripts/fuzz

.PHONY: lint
lint: wheel ## Check formats, types, licences, dependencies, links between pages, and English
	@scripts/install-prerequisites tests/requirements.txt tests/requirements-lint.txt
	cargo fmt --all --check
	cargo fmt $(ORACLE) --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy $(ORACLE) --target-dir target/oracle --all-targets --locked -- -D warnings
	cargo deny --version 2>/dev/null | grep -q . || cargo install --locked --quiet cargo-deny@$(CARGO_DENY)
	cargo deny --all-features check bans licenses sources
	cargo machete --version 2>/dev/null | grep -qF $(CARGO_MACHETE) || \
		cargo install --locked --quiet cargo-machete@$(CARGO_MACHETE)
	cargo machete >target/machete.log 2>&1 || { cat target/machete.log; exit 1; } # unused dependencies
	if [ -d "$(ADVISORIES)" ]; then cargo deny check --disable-fetch advisories; \
	else echo "advisories not checked: no database; 'cargo deny fetch db' gets it where the network allows"; fi
	cc -Wall -Wextra -Wshadow -Werror -O2 -pthread -o /dev/null bench/limit/*.c
	shellcheck $(SHELL_SCRIPTS)
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python scripts/check_links.py
	$(BIN)/python scripts/check_prose.py
	$(BIN)/python scripts/check_circles.py $(addsuffix /src,$(addprefix rust/,hostos crucible-host nbd-export sr-ceph sr-crucible py sr hostdev librbd))
	$(BIN)/pytest tests/test_wheel.py -k 'stub or syntax'

.PHONY: clean
clean: ## Remove the results of builds; keep .venv
	cargo clean
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find bench demo drivers lab provisioners scripts tests -name __pycache__ -prune -exec rm -r {} +
