# One word for each thing that a person does here. What is missing on the machine is installed first; nothing is
# looked for on the network when it is there.
#
#   PORT_BASE=5532 make demo        other ports
#   TESTS='-E "test(routing)"' make test    some of the tests (arguments of cargo nextest run)
#   make bench CASES=simple,extended ROUNDS=3 SECONDS=4 IDLE=2000    some of the cases, shorter or longer
#   PGBOUNCER_BIN=/opt/pgbouncer make bench                          another PgBouncer than Debian's; PGWEIR_BIN likewise

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS := $(TARGET)/tools
# A set of server programs that the drivers' script leaves there where it has one for this machine.
POSTGRESQL_18 := $(TOOLS)/postgresql-18/bin
# Runs a command among a primary and standby pair of each PostgreSQL; src/demo/exec.rs has the variables.
AMONG_SERVERS = $(TARGET)/debug/pgweir demo \
	$$(test -d $(POSTGRESQL_18) && echo --second-bindir $(POSTGRESQL_18)) --exec --

BENCH_OPTIONS = $(if $(CASES),--cases $(CASES)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	$(if $(SECONDS),--seconds $(SECONDS)) $(if $(IDLE),--idle $(IDLE))

export PGWEIR_TEST_PYTHON := $(TOOLS)/venv/bin/python
export PGWEIR_TEST_NODE_PATH := $(TOOLS)/node_modules

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: ## A primary, a standby and pgweir before them on this machine, until Ctrl-C
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh
	@cargo build --release --bin pgweir
	@$(TARGET)/release/pgweir demo $(if $(PORT_BASE),--port-base $(PORT_BASE))

.PHONY: test
test: lint setup-test ## Format, lints and all tests, against real servers
	@ops/setup/monitoring.sh $(TOOLS)
	@cargo build
	@cargo nextest run --no-run
	@$(AMONG_SERVERS) cargo nextest run $(TESTS)

.PHONY: oracle
oracle: ## The token rules against PostgreSQL's own grammar, over its regression suite (minutes to build)
	@ops/setup/rust.sh --test
	@ops/setup/postgresql.sh --contrib
	@ops/setup/oracle.sh $(TOOLS)/regress
	@cargo build
	cargo clippy --features oracle --test oracle -- -D warnings
	@cargo test --features oracle --test oracle --no-run
	@PGWEIR_ORACLE_SUITE=$(TOOLS)/regress/sql $(AMONG_SERVERS) \
		cargo test --features oracle --test oracle -- --nocapture --test-threads=1

.PHONY: regress
regress: ## PostgreSQL's regression suite through pgweir and directly, compared (minutes); SUITE=name,name for a part of it
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh --contrib
	@ops/setup/regress.sh $(TOOLS)/regress
	@cargo bench --profile dev --bench regress -- --suite $(TOOLS)/regress --out $(TARGET)/regress $(if $(SUITE),--tests $(SUITE))

.PHONY: lint
lint: ## cargo fmt --check, clippy and shellcheck, warnings denied
	@ops/setup/rust.sh --test
	@ops/setup/lint.sh
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	shellcheck --external-sources $$(find ops -name '*.sh') .ci/run

.PHONY: setup-test
setup-test: ## Install what the tests need
	@ops/setup/rust.sh --test
	@ops/setup/postgresql.sh --contrib
	@ops/setup/drivers.sh $(TOOLS)

.PHONY: page-test
page-test: ## The status page in headless Chromium (installed if missing), light and dark, into target/page
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh
	@cargo build
	@ops/page/screenshots.sh $(TARGET)/debug/pgweir $(TARGET)/page

.PHONY: package
package: ## A Debian package with its service, in target/debian
	@ops/setup/rust.sh
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	cargo build --release --bin pgweir
	$(TARGET)/release/pgweir man >$(TARGET)/pgweir.1
	@for shell in bash fish zsh; do $(TARGET)/release/pgweir completions $$shell >$(TARGET)/pgweir.$$shell; done
	cargo deb --no-build --strip

.PHONY: bench
bench: ## pgweir beside HAProxy and PgBouncer, on this machine
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh --contrib
	@ops/setup/bench.sh
	@cargo bench --bench e2e -- --out bench-results $(BENCH_OPTIONS)

.PHONY: drill
drill: ## Servers that stop, hang, split and come back: pgweir beside HAProxy and PgBouncer
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh --contrib
	@ops/setup/bench.sh
	@cargo bench --bench drill -- --out bench-results $(if $(EVENTS),--events "$(EVENTS)") $(if $(PROXIES),--proxies "$(PROXIES)")

.PHONY: drill-patroni
drill-patroni: ## pgweir before a Patroni cluster: switchovers, and a leader that is killed
	@ops/setup/rust.sh
	@ops/setup/postgresql.sh --contrib
	@ops/setup/patroni.sh
	@cargo bench --bench drill -- --out bench-results --patroni

.PHONY: bench-micro
bench-micro: ## The micro-benches: scan, classify, ledger, pool
	@ops/setup/rust.sh
	cargo bench --bench scan --bench classify --bench ledger --bench pool

.PHONY: test-alerts
test-alerts: ## The alert rules alone, by promtool
	@ops/setup/drivers.sh $(TOOLS)
	@ops/setup/monitoring.sh $(TOOLS)
	cd ops/monitoring && promtool check config prometheus.yml && promtool test rules alerts_test.yml
