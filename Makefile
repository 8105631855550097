SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-compiled coverage lint bench clean

# More arguments for the command behind a target: make demo ARGS=--once, make test ARGS="-k names".
ARGS ?=

PYTHON := .venv/bin/python
SETUP := .ci/setup
PYTEST := $(PYTHON) -m pytest
# Two workers, because the machine that must manage this has two cores.
WORKERS := -n 2 --dist loadgroup

# The programs that tests call through require_program() (a test compares), and the peers in bench/.
TEST_PROGRAMS := chromedriver,chromium,coap-client-gnutls,coap-client-notls,coap-client-openssl,coap-server-notls,curl,git,mosquitto,mosquitto_pub,mosquitto_rr,mosquitto_sub,node,npm,openssl,strace
BENCH_PROGRAMS := coap-server-notls,curl,h2load,mosquitto,mosquitto_passwd,nginx,wrk

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set up and run the body-weight example; ARGS=--once runs it to its end
	@$(SETUP)
	@$(PYTHON) -m examples.weight.demo $(ARGS)

test: ## set up and run the tests
	@$(SETUP) --extras test,lint --programs $(TEST_PROGRAMS)
	$(PYTEST) $(WORKERS) -m "not full" $(ARGS)

test-full: coverage test-compiled ## the long rounds: crashes, fuzzing, coverage, the compiled form
	HYPOTHESIS_PROFILE=full $(PYTEST) $(WORKERS) -m full -o faulthandler_timeout=1200 $(ARGS)

test-compiled: ## the same tests on the optional compiled form of the hot modules
	@$(SETUP) --extras test,lint,compiled --programs $(TEST_PROGRAMS)
	.ci/compile --run $(CURDIR)/.venv/bin/python -m pytest $(WORKERS) -m "not full" \
		tests/policy tests/gateway tests/adapters $(ARGS)

coverage: ## all branches of the pure core must be taken by its tests
	@$(SETUP) --extras test,lint --programs $(TEST_PROGRAMS)
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run -m pytest -q -m "not full" tests/registry tests/policy tests/gateway
	$(PYTHON) -m coverage report

lint: ## style, types and the import contracts
	@$(SETUP) --extras test,lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PYTHON) -m mypy
	$(PYTEST) -q tests/house/test_imports.py

bench: ## measure against nginx, Envoy, mosquitto and libcoap, write bench/RESULTS.md
	@$(SETUP) --extras bench,casbin,compiled --programs $(BENCH_PROGRAMS)
	$(PYTHON) -m bench.run $(ARGS)

clean: ## remove what was built, measured and cached, and the venv
	rm -rf .venv build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
