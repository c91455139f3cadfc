# `make help` explains every target. Nothing has to be installed beforehand but python3 (3.11 or newer) and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PY := .venv/bin/python
# Where images are named, and which overlay `make install` applies.
export IMAGE_PREFIX ?= tidemill.io
export IMAGE_TAG ?= dev
OVERLAY ?= manifests/overlays/cluster-wide
# Namespaces to serve, with OVERLAY=manifests/overlays/namespaces: comma-separated.
NAMESPACES ?=
# More arguments for pytest, for example PYTEST_ARGS='-k canary -x'.
PYTEST_ARGS ?=
# How many modules of e2e tests run at once.
E2E_AT_ONCE ?= 2
# More arguments for the benchmarks: names, --no-strict.
BENCH_ARGS ?=
# More arguments for `make soak`.
SOAK_ARGS ?=
# More arguments for `make mutants`: --sample 300, --only '*.engine.queue'.
MUTANTS_ARGS ?=
# Requests of `make fuzz` to each form of the model.
FUZZ_REQUESTS ?= 100000
PYTEST = $(PY) -m pytest $(PYTEST_ARGS)
E2E = $(PYTEST) --durations=25 --durations-min=5
# Unit tests start often: what they import is compiled once, also where Python is told to write nothing beside the source.
COMPILED = env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX="$(CURDIR)/.cache/bytecode"
# For tests and programs that call kubectl and others by name.
TOOLS = PATH="$(CURDIR)/.venv/bin:$(CURDIR)/.cache/tools/bin:$$PATH"
# The cluster that `make cluster` started; another one only where CONTEXT=name on the command line names its context.
CLUSTER = TIDEMILL_CONTEXT='$(if $(filter command line,$(origin CONTEXT)),$(CONTEXT))'
# A switch that destroys or publishes: only `NAME=1` on the command line throws it, not `NAME=0`, not the environment.
thrown = $(and $(filter command line,$(origin $(1))),$(filter 1,$($(1))))
PYTHON_CODE = operator images/runtime hack tests

##@ Everyday

.PHONY: help
help: ## This text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {gsub(/\$$\$$/, "$$", $$2); printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: .venv/.synced ## Python environment of the project in .venv (uv, from the lock)

.venv/.synced: pyproject.toml uv.lock hack/tools/bootstrap.sh
	@hack/tools/bootstrap.sh
	@touch $@

.PHONY: check
check: format-check lint types imports generated unit unit-slow ## The quick gate: format, lint, types, imports, generated files, all unit tests

.PHONY: test
test: ## Everything: check, runtime and integration at once, cluster, images, e2e; brings up what it needs (the cluster stays up)
	@hack/tools/stages.sh setup check runtime+integration cluster images e2e

##@ Single gates

.PHONY: format
format: setup ## Format the code and fix what ruff can fix
	@.venv/bin/ruff check --quiet --fix $(PYTHON_CODE) || true
	@.venv/bin/ruff format $(PYTHON_CODE)

.PHONY: format-check
format-check: setup ## Fail when the code is not formatted
	@.venv/bin/ruff format --check $(PYTHON_CODE)

.PHONY: lint
lint: setup ## ruff
	@.venv/bin/ruff check $(PYTHON_CODE)

.PHONY: types
types: setup ## mypy, strict
	@.venv/bin/mypy

.PHONY: imports
imports: setup ## Direction of imports between packages (import-linter)
	@.venv/bin/lint-imports

.PHONY: generate
generate: setup ## Write CRDs and reference pages from the API types, gRPC messages from their .proto
	@$(PY) -m hack.generate

.PHONY: generated
generated: setup ## Fail when generated files are older than their source
	@$(PY) -m hack.generate --check

.PHONY: unit
unit: setup ## Pure tests and the rules of the architecture, in seconds; without those marked slow
	@$(COMPILED) $(PYTEST) -m "not slow" tests/unit tests/architecture

.PHONY: unit-slow
unit-slow: setup ## The unit tests marked slow: many examples, other programs, heavy libraries
	@$(PY) -m hack.tools.kubectl >/dev/null
	@$(TOOLS) $(COMPILED) $(PYTEST) -m slow tests/unit tests/architecture

.PHONY: test-programs
test-programs: setup ## Compile and install what runtime and e2e tests drive, once a machine: S3 server, load generator, public clients
	@$(PY) -m tests.support.programs

.PHONY: runtime
runtime: test-programs ## Trainer, server and monitor together in one process, without a cluster
	@$(PYTEST) tests/runtime

.PHONY: mutants
mutants: setup ## Plant faults in policies and engine; the unit tests must notice 95 % (MUTANTS_ARGS='--sample 300')
	@$(COMPILED) $(PY) -m hack.mutants $(MUTANTS_ARGS)

.PHONY: fuzz
fuzz: setup ## The model server under fuzzers, with another seed each time; FUZZ_REQUESTS=200000 for as many
	@TIDEMILL_FUZZ_SEED="$${RANDOM}" TIDEMILL_FUZZ_REQUESTS="$(FUZZ_REQUESTS)" TIDEMILL_FUZZ_EXAMPLES=500 $(PYTEST) -s tests/runtime/test_server_fuzz.py

.PHONY: integration
integration: setup ## The operator against a real API server and etcd (started by the tests; no node, no root)
	@$(PY) -m hack.tools.kubectl >/dev/null
	@$(PY) -m hack.localcluster prepare
	@$(TOOLS) $(PYTEST) tests/integration

.PHONY: e2e
e2e: cluster images test-programs ## The whole loop on a real cluster with real images
	@# The demo's test kills the operator: it runs alone. All others mostly wait, so two modules of them run at once.
	@# pytest ends with 5 where PYTEST_ARGS leave nothing to run, which may be so of one of both.
	@$(CLUSTER) $(TOOLS) $(E2E) tests/e2e/test_loop.py; alone=$$?; \
	  $(CLUSTER) $(TOOLS) $(E2E) -n $(E2E_AT_ONCE) --dist loadfile --ignore tests/e2e/test_loop.py tests/e2e; others=$$?; \
	  case $$alone,$$others in 0,0|0,5|5,0) ;; *) echo "error: e2e tests failed ($$alone, $$others)"; exit 1 ;; esac

##@ A cluster and what runs in it

.PHONY: cluster
cluster: setup ## A Kubernetes cluster: kind with Docker, else processes of this machine (root); CONTEXT=name: one of yours
	@$(PY) -m hack.tools.kubectl >/dev/null
	@$(CLUSTER) $(PY) -m hack.localcluster up

.PHONY: cluster-down
cluster-down: setup ## Remove the cluster and everything it changed on this machine
	@$(PY) -m hack.localcluster down

.PHONY: cluster-status
cluster-status: setup ## What of the cluster runs
	@$(CLUSTER) $(PY) -m hack.localcluster status

.PHONY: kubeconfig
kubeconfig: setup ## Print the line that points kubectl to the cluster: eval "$$(make -s kubeconfig)"
	@echo "export KUBECONFIG=$$($(PY) -m hack.localcluster kubeconfig)"

.PHONY: images
images: setup ## Build the five images (docker, podman or buildah) and load what changed into the cluster (PUSH=1: into a registry)
	@$(CLUSTER) $(PY) -m hack.images $(if $(call thrown,PUSH),--push)

.PHONY: install
install: setup ## Apply CRDs, RBAC, operator (CONTEXT; OVERLAY; NAMESPACES=a,b; IMAGE_PREFIX, IMAGE_TAG; FORCE_CONFLICTS=1)
	@$(TOOLS) $(CLUSTER) $(PY) -m hack.install apply $(OVERLAY) --namespaces='$(NAMESPACES)' $(if $(call thrown,FORCE_CONFLICTS),--force-conflicts)

.PHONY: uninstall
uninstall: setup ## Remove what `install` applied; refuses while pipelines, deployments, … exist (FORCE=1 removes them, too; CONTEXT)
	@$(TOOLS) $(CLUSTER) $(PY) -m hack.install remove $(OVERLAY) --namespaces='$(NAMESPACES)' $(if $(call thrown,FORCE),--force)

.PHONY: demo
demo: cluster images ## The loop on real data: train, deploy, roll out, roll back, drift, retrain
	@$(TOOLS) $(CLUSTER) $(PY) -m hack.demo

.PHONY: demo-clean
demo-clean: setup ## Remove what the demo made, and the operator unless somebody else uses it
	@$(TOOLS) $(CLUSTER) $(PY) -m hack.demo clean

.PHONY: bench
bench: cluster images ## Measure against floors of the same run; fails when a goal is missed (BENCH_ARGS='--no-strict operator')
	@$(TOOLS) $(CLUSTER) $(PY) -m hack.bench $(BENCH_ARGS)

.PHONY: bench-serving
bench-serving: setup ## Compare the model server with MLServer, KServe and BentoML, about 25 minutes, into docs/ (BENCH_ARGS=--quick: a look)
	@$(PY) -m hack.bench.serving $(BENCH_ARGS)

.PHONY: bench-monitoring
bench-monitoring: setup ## False alarms, delay and speed of drift beside Evidently, about 15 minutes (BENCH_ARGS=--quick: a look)
	@$(PY) -m hack.bench.alarms $(BENCH_ARGS)

.PHONY: soak
soak: setup ## The model server's memory under good and bad requests for ten minutes (SOAK_ARGS='--minutes 1 --workers 2')
	@$(PY) -m hack.bench.soak $(SOAK_ARGS)

##@ Tidying

.PHONY: clean
clean: ## Remove environments and caches of this clone (the cluster must be down; the user's cache stays)
	@if [ -d .tidemill/cluster ] || [ -e .tidemill/kind.kubeconfig ]; then echo "error: a cluster is there; run: make cluster-down" >&2; exit 1; fi
	@rm -rf .venv .cache .tidemill .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
