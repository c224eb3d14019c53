# make demo    everything from nothing: install, record demonstrations, train a one-call policy, evaluate, report
# make demo-robot  that policy on a simulated robot behind a ROS bridge, in real time; no ROS is needed
# make test    everything from nothing: install, run the tests
# Both install once, into .venv; `make setup` does only that. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.laminar-installed
DEMO := outputs/demo
ROBOT := outputs/demo-robot
DEMO_TASK := playroom/open_drawer
EPISODES := 50
STEPS := 10000
EVALUATED := 50

# One thread is faster for networks of this size, and the numbers do not depend on the machine's cores.
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-robot test test-slow test-pythons lint type format settings docs dist bench lock clean

help:
	@sed -n 's/^# //p' Makefile | head -4
	@echo "Targets: setup demo test test-slow test-pythons lint type format settings docs dist bench lock clean"

setup: $(READY)

# A Python without ensurepip (Debian's, without python3-venv) has its own pip install one into the environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 10) or sys.exit("laminar needs Python 3.10 or newer, this is %d.%d: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV) || ( \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install pip )

# Every version comes from the lock, setuptools too, so nothing is resolved and no build environment is made.
$(READY): requirements.lock setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	rm -rf "$(DEMO)"
	$(BIN)/laminar collect task=$(DEMO_TASK) episodes=$(EPISODES) seed=0 out="$(DEMO)/demonstrations.hdf5"
	$(BIN)/laminar train experiment=playroom-skill policy=meanflow task=$(DEMO_TASK) seed=0 \
		data.path="$(DEMO)/demonstrations.hdf5" steps=$(STEPS) out="$(DEMO)/train"
	$(BIN)/laminar eval policy.path="$(DEMO)/train" task=$(DEMO_TASK) episodes=$(EVALUATED) seed=1000 out="$(DEMO)/eval"

$(DEMO)/train/policy.json $(DEMO)/eval/eval.json:
	$(MAKE) demo

demo-robot: $(READY) | $(DEMO)/eval/eval.json
	$(BIN)/python examples/robot_demo.py "$(DEMO)/train" "$(ROBOT)"

# By size, as pytest-xdist would order the files, the longest of all tests, which has a file of its own, would begin last.
test: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/pytest -m "slow and not gpu"

# Some of them by every supported Python that the machine has, each in an environment of its own.
test-pythons:
	$(PYTHON) tests/pythons.py .venvs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache

type: $(READY)
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The reference of all settings: what `--help` reads, and the page.
settings: $(READY)
	$(BIN)/python -m laminar.configs.settings_page docs/settings.md

# The documentation as a site, in outputs/site; a warning fails it. `python -m http.server -d outputs/site` shows it.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Wheel and sdist in dist/. The wheel is then installed into an empty environment with nothing of this folder, by the
# versions of the lock, and runs the demo's short form there.
dist: $(READY)
	rm -rf build dist
	$(BIN)/python tests/dist.py dist

# All of them run, then a claim that is not met fails the target. The harness is what they share, the usual U-Net what one of them compares with.
bench: $(READY)
	failed=0; for script in $(filter-out benchmarks/harness.py benchmarks/usual_unet.py benchmarks/lerobot_peer.py benchmarks/picture_supply.py,$(sort $(wildcard benchmarks/*.py))); do \
		$(BIN)/python $$script || failed=1; done; exit $$failed

# Resolves anew for every supported Python; needs `uv`. torch is pinned alone: its CUDA libraries, which the CPU
# build does without, are pinned by its own metadata.
lock:
	{ sed -n '/^#/p' requirements.lock; \
	  echo "torch==2.13.0" | uv pip compile setup.cfg - --extra dev --extra export --extra deploy --universal --python-version 3.10 --upgrade \
	    --no-annotate --no-header --quiet | grep -vE '^(nvidia-|cuda-|triton)'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf outputs build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
