# `make run` opens the studio, `make test` checks it. Each makes the virtual environment it needs.
VENV := .venv
PY := $(VENV)/bin/python
PORT ?= 7860

.PHONY: run test lint clean

run: $(VENV)/.app
	$(PY) app.py --port $(PORT)

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(PY) -m pytest -q -n 2 --dist loadfile  # two processes of one thread each: half the time on two cores

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .

$(VENV)/bin/python:
	python3 -m venv $(VENV)

$(VENV)/.app: requirements.txt constraints.txt | $(PY)
	$(PY) -m pip install -q -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt constraints.txt | $(PY)
	$(PY) -m pip install -q -r requirements-dev.txt -c constraints.txt
	touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV)
