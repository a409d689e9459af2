# One cargo shape everywhere: the whole workspace, all targets, the dev profile, the committed lock file.
# Another shape (one package, other features) would build every dependency a second time.
CARGO_SHAPE := --workspace --all-targets --locked
BED := target/debug/logwise-testbed

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## start the whole pipeline here, apply examples/quickstart, show what happened, leave it running
	$(BED) demo

.PHONY: demo-down
demo-down: ## end what `make demo` left running
	$(BED) --dir target/demo down

.PHONY: test
test: build ## every test, against real servers that are started and ended here
	@rm -f target/test-count
	@$(BED) exec --profile all -- .ci/test; status=$$?; cat target/test-count 2>/dev/null; exit $$status

.PHONY: check
check: ## format, lints, docs, generated files, purity of the plan crate; no server
	cargo fmt --all --check
	cargo clippy $(CARGO_SHAPE) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	.ci/plan-purity
	$(MAKE) --no-print-directory build
	.ci/generated

.PHONY: build
build: ## build everything
	cargo build $(CARGO_SHAPE)

.PHONY: generate
generate: build ## write crds/ from the types
	target/debug/logwise-operator crds --dir crds

.PHONY: bed-up
bed-up: build ## start the servers that tests need, and leave them running
	$(BED) up --profile all

.PHONY: bed-down
bed-down: ## end the servers of `make bed-up`
	$(BED) down

# Two builds, so that the operator has the features that it is shipped with and not those of the tests too.
.PHONY: bench
bench: ## figures, see docs/benchmarks.md; PARTS="plan look" for some of them
	cargo build --release --locked -p logwise-operator
	cargo build --release --locked -p logwise-tests --bin logwise-bench
	$(MAKE) --no-print-directory build
	LOGWISE_OPERATOR_BIN=$(CURDIR)/target/release/logwise-operator $(BED) exec --profile all -- .ci/bench $(PARTS)

.PHONY: prove
prove: build ## what is too long for `make test`
	$(BED) exec --profile all --profile ceph -- env LOGWISE_PROVE=1 RUST_TEST_THREADS=6 .ci/test
