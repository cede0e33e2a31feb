# Everything runs in .venv, which .ci/environment makes when it is missing or out of date.
# PYTHON=python3.12 chooses the interpreter, ARGS="-k name" adds arguments to the command.

RUN := ./.ci/environment

# Most tests wait for servers and programs rather than compute: more workers than cores.
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS ?= $(shell workers=$$((5 * $(CORES) / 2)); echo $$((workers > 8 ? 8 : workers)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-load test-endurance test-system campaign bench lint wheel deb clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## deploy an example on http://127.0.0.1:8080 and keep reconciling it
	@$(RUN) reconciler demo $(ARGS)

# Tests that measure time run by themselves, after the others. pytest ends with 5 when ARGS leaves it nothing to run.
test: ## run all tests; one of them: make test ARGS="-k name"
	@$(RUN) pytest --verbose --numprocesses=$(WORKERS) --dist=load --maxschedchunk=1 -m "not serial and not load and not endurance" $(ARGS) || [ $$? -eq 5 ]
	@$(RUN) pytest --verbose -m serial $(ARGS) || [ $$? -eq 5 ]

test-load: ## deploy under load, in bursts and beside builds that hang, and see what visitors and the machine notice
	@$(RUN) pytest --verbose -s -m load $(ARGS) || [ $$? -eq 5 ]

test-endurance: ## do the same thing ten thousand times, and see what is held
	@$(RUN) pytest --verbose --numprocesses=$(CORES) -m endurance $(ARGS) || [ $$? -eq 5 ]

# The Debian is made once, with debootstrap, and kept in ~/.cache/reconciler-tests. Its tests are stories, told in order;
# those of different servers are told at the same time.
test-system: ## boot a Debian with systemd and test a whole server in it; needs root
	@$(RUN) pytest --verbose -p no:randomly --exitfirst --timeout=600 --numprocesses=2 --dist=loadscope tests_system $(ARGS)

# The parts of the campaign are files of tests_campaign. ARGS="--long" does more of the same, for as long as you like,
# ARGS="--share=0.2 --turn=WORD" does a fifth of what is done in numbers, in a fifth of the tests; .ci/run does that.
campaign: ## kill, starve and attack it at every point, and see that nothing is lost: minutes
	@$(RUN) pytest --verbose -p no:randomly --numprocesses=$(WORKERS) --dist=load --maxschedchunk=1 --timeout=300 tests_campaign $(ARGS) || [ $$? -eq 5 ]

# --quick: a minute, everything once; --part NAME: one part; --write: the table goes into docs/performance.md
bench: ## measure it beside ansible-pull and pyinfra, about 11 minutes; short: make bench ARGS=--quick
	@$(RUN) python -m bench $(ARGS)

lint: ## check style, types and the direction of imports
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy --strict
	@$(RUN) lint-imports

wheel: ## build dist/reconciler-VERSION-py3-none-any.whl
	@$(RUN) uv build --quiet --wheel --out-dir dist
	@ls dist/*.whl

# DEB_MAINTAINER="Name <address>" is who the package names; ARGS="--python 3.13" is for Debian 13
deb: ## build dist/reconciler_VERSION_ARCH.deb for Debian 12, in a minute and a half
	@$(RUN) python -m deploy.debian $(ARGS)

clean: ## remove what make and the tools have made, the environment included; demo/ stays
	rm -rf .venv .cache dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
