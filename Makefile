# `make` alone lists what there is. Everything works with -j and through -C from any folder.

PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
BUILD := .build/release
PROGRAMS := insightface insightface-train

# Swift's flags of the reader's own, e.g. SWIFT_FLAGS="-j 1".
SWIFT_FLAGS ?=
# Kernels and pixel loops are optimised in debug builds too, for tests that train and render. See Package.swift.
export INSIGHTFACE_OPTIMIZED_DEBUG := 1
# Flags of scripts/bench/run, e.g. BENCH_FLAGS="--rows start,loader".
BENCH_FLAGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help bootstrap build quickstart test test-all bench bench-quick bench-peers lint format install clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

bootstrap: ## check this machine and lay LibTorch down in .libtorch (the other targets do it themselves)
	@scripts/bootstrap

build: bootstrap ## build the programs, optimised, into .build/release
	$(SWIFT) build -c release $(SWIFT_FLAGS)

quickstart: build ## make faces, train on them, verify on held-out identities
	$(BUILD)/insightface quickstart

test: bootstrap lint ## lint, then run the tests
	$(SWIFT) test --no-parallel $(SWIFT_FLAGS)

test-all: bootstrap lint ## the same with the slow tests, and a package that depends on this one
	INSIGHTFACE_SLOW_TESTS=1 $(SWIFT) test --no-parallel $(SWIFT_FLAGS)
	SWIFT_FLAGS="$(SWIFT_FLAGS)" scripts/check-outside-package

bench: build ## time this project beside its peers, into docs/benchmarks (see scripts/bench)
	@scripts/bench/run --build $(BUILD) $(BENCH_FLAGS)

bench-quick: build ## the same with few and short rounds, under three minutes
	@scripts/bench/run --quick --build $(BUILD) $(BENCH_FLAGS)

bench-peers: ## bring the peers to compare with (PyTorch, ONNX Runtime, OpenVINO, faiss, insightface …) into .peers
	@scripts/bench/peers/setup

lint: ## check the form of the sources, and who imports whom
	$(SWIFT) format lint --strict -r -p Sources Tests Package.swift
	@scripts/check-structure

format: ## put the sources into form
	$(SWIFT) format -i -r -p Sources Tests Package.swift

install: build ## install a tree that may be moved: make install PREFIX=/usr/local
	@python3 scripts/install.py --build $(BUILD) --prefix "$(PREFIX)" --destdir "$(DESTDIR)" $(PROGRAMS)

clean: ## remove what was built
	rm -rf .build

distclean: clean ## remove LibTorch, OpenVINO and the peers too
	for tree in .libtorch .openvino; do \
	  if [ -L $$tree ]; then rm -f $$tree; else rm -rf $$tree; fi; \
	  rm -rf $$tree.download $$tree.new $$tree.old $$tree.lock; \
	done
	rm -rf .peers
