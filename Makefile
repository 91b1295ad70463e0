# Everything happens in a private environment and in build/; only Python 3.10+, a C compiler and
# make have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.py src kernels graph tuner onnx_frontend bench tests examples tools
C_FILES = $(shell git ls-files '*.c' '*.h')

.PHONY: build runner wheels test lint format asan avxvnni bench bench-compare performance arm demo clean

build: $(VENV)/installed
	$(BIN)/python setup.py -q build_ext --inplace

# The kernels as a program for devices without Python, see docs/tuning-a-device.md.
runner: build
	$(BIN)/python tools/runner.py

# For this machine and, where gcc-aarch64-linux-gnu is, for aarch64; and the source distribution: all in dist.
wheels: build
	$(BIN)/python tools/wheels.py

$(VENV)/installed: pyproject.toml setup.py
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q "setuptools>=77" "cython>=3.1" "numpy>=1.26" wheel
	$(BIN)/pip install -q --no-build-isolation -e ".[test]"
	touch $@

# All but tests/arm, which is `make arm`. Tests of one file share what it set up: they stay in one process.
test: build
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile --ignore tests/arm

lint: build
	$(BIN)/pip install -q --no-build-isolation -e ".[lint]"
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/python tools/mypy_tree.py

format: build
	$(BIN)/pip install -q --no-build-isolation -e ".[lint]"
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/clang-format -i $(C_FILES)

# A second build with AddressSanitizer and UBSan; Python itself leaks at exit, so leaks are not shown.
asan: build
	$(BIN)/python tools/sanitized.py -m pytest -q tests/kernels tests/graph

# The AVX-VNNI kernels on a CPU with AVX512-VNNI: the same source, the other encoding.
avxvnni: build
	$(BIN)/python tools/avxvnni.py -m pytest -q tests/kernels/test_qgemm.py tests/kernels/test_qconv2d.py \
	  tests/kernels/test_qdepthwise.py -k avxvnni

# Every run is kept in build/benchmarks; bench-compare shows them side by side, slower ones in colour.
bench: build
	$(BIN)/python -m pytest -q -o addopts= --benchmark-only --benchmark-sort=name --benchmark-max-time=0.2 \
	  --benchmark-columns=median,iqr,rounds --benchmark-storage=build/benchmarks --benchmark-autosave bench/bench_*.py

bench-compare: build
	$(BIN)/pytest-benchmark --storage build/benchmarks compare --sort=name --group-by=fullname --columns=median,iqr

# Everything in docs/performance.md, on this machine: hours. Goes on where it was interrupted; begin anew by
# removing docs/performance/*.json. TUNE and SECONDS are seconds for each model and number of threads.
TUNE ?= 300
SECONDS ?= 20
performance: build
	$(BIN)/pip install -q --no-build-isolation -e ".[bench,peers,tune]"
	$(BIN)/python -m luthier.bench.performance measure --records build/performance.jsonl --tune $(TUNE) --seconds $(SECONDS)
	$(BIN)/python -m luthier.bench.performance render

# On emulated cores, several at a time: the kernels' tests and whole models on the wheel for aarch64, the kernels' tests on
# 32 bits, and luthier-runner.
arm: build
	LUTHIER_REQUIRE_ARM=1 $(BIN)/python -m pytest -q -n 3 --dist loadgroup --durations 5 tests/arm

demo: build
	$(BIN)/pip install -q --no-build-isolation -e ".[tune,images]"
	$(BIN)/python examples/demo/read_text.py

clean:
	rm -rf build dist $(VENV) src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -f kernels/*.so graph/*.so
