# Every command sets up what it needs: only Python 3.11+ and make are taken for granted.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --quiet

.PHONY: demo test check bench docs fix test-gpu conformance clean

demo: $(UV)            ## the main job: a real photo through real tools over stdio
	@test -d .venv || echo "Setting up, once; this takes about a minute ..."
	@$(UV) sync --frozen --quiet --no-dev
	@$(UV) run --frozen --quiet --no-dev python examples/demo.py

test: $(UV)            ## all tests on all cores; those of MCP conformance need npm
	@$(RUN) pytest -q -n auto --dist worksteal

check: $(UV)           ## lock file, lint, types, architecture, generated files
	@$(UV) lock --check --quiet
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports
	@$(RUN) darkroom docs --check

bench: $(UV)           ## measured comparisons; each prints ratios
	@$(RUN) python -m benchmarks

docs: $(UV)            ## write what is generated from the schemas
	@$(RUN) darkroom docs

fix: $(UV)             ## what can be put right by itself
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

conformance: $(UV)     ## the official MCP conformance suite alone (needs npm)
	@$(RUN) pytest -q tests/conformance

test-gpu: $(UV)        ## the engine on a CUDA device
	@$(UV) run --frozen --quiet --no-dev --extra gpu --with pytest --with pytest-timeout --with hypothesis --with onnx pytest -q -m gpu tests/gpu

.uv/bin/uv:
	@$(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf .venv .uv .demo dist
