# Each target makes .venv when there is none; README.md has the same steps as plain commands.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: demo test lint bench

demo: $(INSTALLED)
	$(RUN) inference.py --demo

test: $(INSTALLED)
	$(RUN) -m pytest -q

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(INSTALLED)
	$(RUN) -m tests.bench
	$(RUN) -m tests.bench_dubbing

$(INSTALLED): requirements.txt requirements-dev.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -r requirements-dev.txt
	touch $@
