# Needs Python 3.11 or later and make; everything else is installed into folders of this checkout.
#   make demo      the main job on real data, in an environment with what users install
#   make test      everything that this machine can test; names what it has to skip

PYTHON ?= python3
USER_VENV := .venv
TEST_VENV := .venv-test
LAB_SOURCES := package.json package-lock.json tsconfig.json $(wildcard labextension/src/*) $(wildcard labextension/src/*/*) $(wildcard labextension/style/*) $(wildcard labextension/schema/*)
DEMO_DIR := mlops-demo
# In a container one is often root, and Jupyter wants to be told that this is meant.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

.PHONY: help install demo lab test test-fast lint bench docs lock clean
.DEFAULT_GOAL := help

help:
	@echo "make install   an environment in $(USER_VENV) with the package, JupyterLab and the demo's libraries"
	@echo "make demo      a session on real data, converted, verified, run headless, compared and registered"
	@echo "make lab       JupyterLab with the sidebar, on the demo's folder"
	@echo "make test      lint, types, layers, tests (core, servers, Ray, peers, browser), docs"
	@echo "make bench     the benchmarks, each against its peer"
	@echo "make test-fast lint and the core tests; make lint: lint alone"
	@echo "make docs      the documentation site in site/"
	@echo "make lock      pin all dependencies anew (UPGRADE=1: newer versions too)"
	@echo "make clean     remove what these made"

PY_SOURCES := $(shell find mlops_jupyter -name '*.py' -o -name '*.json' -not -path '*/labextension/*')

$(USER_VENV)/installed: requirements/demo.txt pyproject.toml notebooks/quickstart.ipynb $(LAB_SOURCES) $(PY_SOURCES)
	@scripts/check-python "$(PYTHON)"
	@echo "Setting up $(USER_VENV) (once, a minute or two)"
	"$(PYTHON)" -m venv $(USER_VENV)
	$(USER_VENV)/bin/python -m pip install -qq --upgrade "pip>=25"
	$(USER_VENV)/bin/python -m pip install -qq -r requirements/demo.txt
	$(USER_VENV)/bin/python -m pip install -qq --no-deps --force-reinstall .
	touch $@

$(TEST_VENV)/installed: requirements/test.txt pyproject.toml $(LAB_SOURCES)
	@scripts/check-python "$(PYTHON)"
	@echo "Setting up $(TEST_VENV) (once, a minute or two)"
	"$(PYTHON)" -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/python -m pip install -qq --upgrade "pip>=25"
	$(TEST_VENV)/bin/python -m pip install -qq -r requirements/test.txt
	$(TEST_VENV)/bin/python -m pip install -qq --no-deps -e .
	touch $@

install: $(USER_VENV)/installed

demo: $(USER_VENV)/installed
	$(USER_VENV)/bin/mlops demo --dir $(DEMO_DIR)

lab: $(USER_VENV)/installed
	mkdir -p $(DEMO_DIR)
	test -e $(DEMO_DIR)/quickstart.ipynb || cp notebooks/quickstart.ipynb $(DEMO_DIR)/
	cd $(DEMO_DIR) && mkdir -p .mlops && ../$(USER_VENV)/bin/jupyter lab $(AS_ROOT) $(LAB_FLAGS) quickstart.ipynb

test: $(TEST_VENV)/installed
	scripts/test $(TEST_VENV)

test-fast: $(TEST_VENV)/installed
	scripts/test $(TEST_VENV) --fast

lint: $(TEST_VENV)/installed
	scripts/test $(TEST_VENV) --lint

bench: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python benchmarks/run_all.py

docs: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/mkdocs build --strict

lock: $(TEST_VENV)/installed
	scripts/lock $(TEST_VENV)

clean:
	rm -rf $(USER_VENV) $(TEST_VENV) $(DEMO_DIR) site build dist node_modules labextension/lib mlops_jupyter/labextension
