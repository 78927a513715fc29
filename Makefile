# One command per job; `make` alone lists them. Everything is installed into .venv, which is made on first use.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch>=2.11,<2.14
WORKERS ?= auto
QUICK ?= quick

BIN := $(abspath $(VENV))/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

.PHONY: help demo test check lint types imports quick docs quickstart golden bench clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(RUN) ## train a small VAE on embedded digits and write its report: the first thing to try
	$(BIN)/latentscape demo

test: $(DEV) ## the whole test suite
	$(PY) -m pytest -n $(WORKERS) --dist worksteal

check: lint types imports $(QUICK) docs quickstart ## what must hold before a change goes in

lint: $(DEV) ## ruff
	$(BIN)/ruff check .

types: $(DEV) ## pyright
	$(BIN)/pyright

imports: $(DEV) ## who may import whom
	$(BIN)/lint-imports

quick: $(DEV) ## the tests without the slow ones
	$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

docs: $(DEV) ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

quickstart: $(DEV) ## run examples/quickstart.py in an empty folder
	d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && cd "$$d" && \
	LATENTSCAPE_CACHE="$$d/cache" GOMP_SPINCOUNT=20000 $(PY) $(CURDIR)/examples/quickstart.py

golden: $(DEV) ## record the golden loss curves anew (look at the difference before keeping it)
	$(PY) -m pytest tests/golden --record

bench: $(DEV) ## time training, single levers, sampling and packing beside plain loops, on noise
	$(PY) -m bench.throughput --workload all
	$(PY) -m bench.levers
	$(PY) -m bench.sampling
	$(PY) -m bench.ingestion

clean: ## remove what builds and tests leave (not .venv, not runs/)
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# ---- the environment ---------------------------------------------------------------------------------------------------
# torch comes first and by itself, so that a CPU build which pip is configured to find is taken before anything
# else asks for torch. The stamps make a second run quick; they are renewed when pyproject.toml changes.

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latentscape needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUN): pyproject.toml | $(PY)
	$(PIP) install "$(TORCH)"
	$(PIP) install -e .
	@touch $@

$(DEV): pyproject.toml | $(PY)
	$(PIP) install "$(TORCH)"
	$(PIP) install -e ".[dev]"
	@touch $(RUN) $@
