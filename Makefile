# What people do with a clone. `make help` lists it.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
BINARY   = $(or $(CARGO_TARGET_DIR),target)/release/drover

.PHONY: help build test torture bench check deny fuzz demo install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the release binary
	$(CARGO) build --release --locked

test: ## all tests, against real servers on loopback (installs Dovecot and others' programs if it may)
	scripts/need-dovecot.sh
	scripts/need-imap-clients.sh
	scripts/need-oidc-provider.sh
	$(CARGO) test --locked

torture: ## every fault at once, at random, for MINUTES (default 5); SEED=n begins with that campaign
	scripts/need-dovecot.sh
	MINUTES="$(or $(MINUTES),5)" SEED="$(SEED)" $(CARGO) test --locked --test torture -- --nocapture

bench: ## speed against the two servers' floor and mbsync (ROWS="seed nothing", ROUNDS=3)
	scripts/need-dovecot.sh
	scripts/need-mbsync.sh
	ROUNDS="$(or $(ROUNDS),3)" $(CARGO) bench --locked --bench speed -- $(ROWS)

check: ## format and lints, as CI has them
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

deny: ## licences, sources and known vulnerabilities of the dependencies
	scripts/deny.sh

fuzz: ## every parser of bytes from outside, TIME seconds each (default 30), or only TARGET
	scripts/fuzz.sh "$(or $(TIME),30)" $(TARGET)

demo: ## two mail servers, one migration, half a minute
	scripts/demo.sh

install: ## what `make build` built: binary, manual, completions and systemd units, below $(DESTDIR)$(PREFIX)
	@test -x "$(BINARY)" || { echo "$(BINARY) is not there: run make build first" >&2; exit 1; }
	scripts/install.sh "$(BINARY)" "$(DESTDIR)" "$(PREFIX)"

clean: ## remove what was built
	$(CARGO) clean
