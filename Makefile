# Provisioner. `make run` sets everything up and runs the lab; `make test` sets up and passes the tests.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
IFACE ?=
# Python keeps what it compiles, whatever the environment says: else each of hundreds of starts compiles it all again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup setup-test run deb docs check test test-long mutants bench bench-bmc bench-delivery bench-inventory bench-page bench-render bench-storm lint clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 17

setup: ## Install what is needed (apt, .venv, loaders, the lab's image); quick when all is there
	@.setup/setup.sh lab

setup-test:
	@.setup/setup.sh test

run: setup ## Run the lab: a virtual rack installs itself. IFACE=eth1 serves a real wire instead
	@if [[ -n "$(IFACE)" ]]; then exec $(BIN)/provisioner serve --interface "$(IFACE)"; \
	else exec $(BIN)/provisioner lab run --keep; fi

lint: setup-test ## Style, types, import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# Three for two cores: a third of the time a test waits for a disk, a child or a clock.
check: lint ## Lint and the fast tests
	@$(PYTEST) -q -n 3 --dist worksteal -m "not system and not e2e and not thorough and not long"

test: check ## All but the long ones: fast tests, real servers and clients, real firmware
	@$(PYTEST) -q -n 3 --dist worksteal -m "thorough and not system and not e2e and not long"
	@$(PYTEST) -q -n 2 --dist loadfile -m "system and not e2e and not long" --durations=15
	@$(PYTEST) -q -m "e2e and not long" --durations=15

test-long: setup-test ## The rest: long series, every firmware, kill tests
	@$(PYTEST) -q -m "long" --durations=15
	@$(MAKE) --no-print-directory mutants

mutants: setup-test ## Change the packet codecs and decisions in every small way; the tests must notice 85 % in each
	@$(BIN)/python -m tests.mutants

bench: setup-test ## Benchmarks: ratios against peers in the same run
	@$(PYTEST) -q tests/bench -s

bench-delivery: setup-test ## TFTP and HTTP beside tftpd-hpa, atftpd, dnsmasq, tftpy and nginx; SHORT=1 takes two minutes
	@$(BIN)/python -m tests.bench.delivery $(if $(SHORT),--quick)

bench-storm: setup-test ## 500 simulated machines boot and install at once; SHORT=1: 50 of them
	@$(BIN)/python -m tests.bench.storm $(if $(SHORT),--machines 50 --image-mib 16)

bench-dhcp: setup-test ## DHCP exchanges a second beside Kea and dnsmasq; SHORT=1 takes a few minutes
	@$(BIN)/python -m tests.bench.dhcp $(if $(SHORT),--short)

bench-bmc: setup-test ## 300 BMCs harvested: wall time, memory, and what it does to DHCP
	@$(BIN)/python -m tests.bench.bmc

bench-inventory: setup-test ## 10,000 machines: import, import again, allocate, export
	@$(BIN)/python -m tests.bench.inventory

bench-page: setup-test ## First paint of 3, 300 and 5,000 machines in Chromium, and how soon it tells of an event
	@$(BIN)/python -m tests.bench.page

bench-render: setup-test ## Machines rendered a second, and how soon 300 that ask at once have their bytes
	@$(BIN)/python -m tests.bench.render

docs: setup-test ## Write the generated references, check every link
	@$(BIN)/python -m tests.web.pages.picture
	@$(BIN)/python docs/build.py

deb: ## Build the Debian package
	@.setup/deb.sh

clean: ## Remove what was built (not data)
	@rm -rf .venv .cache build mutants netboot_assets/build provisioner/web/static/vendor
