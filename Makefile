# `make run` opens the studio, `make test` checks it, `make test-lowest` with the lowest versions allowed. Each makes the virtual environment it needs.
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 7860

LOWEST := .venv-lowest

.PHONY: run test test-lowest lint clean

run: $(VENV)/.app
	$(PY) app.py --port $(PORT)

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PY) -m pytest -q -n 2 --no-loadscope-reorder  # two processes of one thread each; tests/conftest.py divides

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test-lowest: $(LOWEST)/.dev
	$(LOWEST)/bin/python -m pytest -q -n 2 --no-loadscope-reorder

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.app: requirements.txt constraints.txt | $(PY)
	$(PY) -m pip install -q -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt constraints.txt | $(PY)
	$(PY) -m pip install -q -r requirements-dev.txt -c constraints.txt
	touch $@ $(VENV)/.app

$(LOWEST)/.dev: requirements.txt requirements-dev.txt constraints-lowest.txt
	python3.11 -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -r requirements-dev.txt -c constraints-lowest.txt
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST)
