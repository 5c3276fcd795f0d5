# Each target makes .venv when there is none; README.md has the same steps as plain commands.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

.PHONY: demo web test test-long test-fast campaign lint bench docs lock

demo: $(INSTALLED)
	$(RUN) inference.py --demo

web: $(INSTALLED)
	$(RUN) -m pip install -q -r requirements-web.txt
	$(RUN) web.py

# Tests in as many processes as there are cores, each with one thread; then those in a browser, one after another. On a
# busy virtual machine a browser can stand still: it gets a second try.
BROWSER := -m pytest -q -m browser --timeout 300 tests/web tests/dubbing
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED)
	$(RUN) -m pytest -q -n auto --dist worksteal -m "not long and not browser"
	$(RUN) $(BROWSER) || $(RUN) $(BROWSER)

# Those that `make test` leaves out: trainings in several processes, whole guides
test-long: export OMP_NUM_THREADS := 1
test-long: $(INSTALLED)
	$(RUN) -m pytest -q -n auto --dist worksteal -m long

test-fast: $(INSTALLED)
	$(RUN) -m pytest -q -m "not slow"

# Kills, full disks, damaged files and the like, from fixed seeds; the first 12 cases are part of `make test`
CASES ?= 300
campaign: $(INSTALLED)
	$(RUN) -m tests.faults --cases $(CASES)

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

bench: $(INSTALLED)
	$(RUN) -m benchmarks

docs: $(INSTALLED)
	$(RUN) -m docs.generate_cli

# The versions in the container image: of what .venv has, those there; CUDA's come with the build of PyTorch
lock: export UV_CUSTOM_COMPILE_COMMAND := make lock
lock: $(INSTALLED)
	$(RUN) -m pip install -q uv
	$(RUN) -m pip freeze | $(RUN) -m uv pip compile -q --no-annotate --python-version 3.11 --python-platform linux \
	    --constraint - requirements-web.txt requirements-openvino.txt | grep -vE '^(cuda-|nvidia-|triton=)' \
	    | sed 's/^opencv-python=/opencv-python-headless=/' > requirements-lock.part
	test -s requirements-lock.part && mv requirements-lock.part requirements-lock.txt

$(INSTALLED): requirements.txt requirements-dev.txt requirements-web.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -r requirements-dev.txt
	touch $@
