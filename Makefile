# Everything here works on a fresh machine with Python 3.11 or later, pip and make.
# The first target that is made builds .venv (torch's CUDA builds run without a GPU too: about 5 GB, once).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test lint types docs format bench bench-quick clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train two small models, run their contracts, show what was found (about two minutes)"
	@echo "make test    run the test suite             (TESTS='-n 0 -x tests/decide' to narrow it)"
	@echo "make lint    ruff: rules and formatting"
	@echo "make types   mypy, strict"
	@echo "make docs    the documentation as pages in site/; a warning is an error"
	@echo "make format  let ruff rewrite the files"
	@echo "make bench   speed beside grad-cam, captum and torch-cam, as tables (over an hour; make bench-quick: a rough idea)"
	@echo "make clean   remove the environment, caches and what the examples made"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed; $(PYTHON) is {sys.version.split()[0]}. Say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest $(TESTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python benchmarks/importing.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/published_case.py
	$(BIN)/python benchmarks/speed.py

bench-quick: $(READY)
	$(BIN)/python benchmarks/importing.py --quick
	$(BIN)/python benchmarks/published_case.py --quick
	$(BIN)/python benchmarks/speed.py --quick --models resnet18

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site
	rm -rf examples/*/weights examples/*/data examples/*/.pytest_cache demo-output
	rm -rf examples/chest_xray/chest-xray-run examples/papers/*/run
	rm -rf examples/papers/case/data examples/papers/case/weights examples/papers/case/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
