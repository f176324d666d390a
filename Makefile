# greffier. `make demo` shows it, `make check` proves it, `make help` lists the rest.
CARGO   ?= cargo
PREFIX  ?= /usr
DESTDIR ?=
# What `make install` builds and installs: release, or dev (what the tests use).
PROFILE ?= release
BUILT    = target/$(PROFILE:dev=debug)
# The bus, polkit and the systemd of most distributions read these folders whatever PREFIX is.
DBUS_POLICY = $(DESTDIR)/usr/share/dbus-1/system.d
DBUS_XML    = $(DESTDIR)/usr/share/dbus-1/interfaces
POLKIT      = $(DESTDIR)/usr/share/polkit-1/actions
PROFILES    = $(DESTDIR)/usr/share/greffier/profiles
UNITS       = $(DESTDIR)$(PREFIX)/lib/systemd/system
TMPFILES    = $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
SYSUSERS    = $(DESTDIR)$(PREFIX)/lib/sysusers.d
DOC         = $(DESTDIR)$(PREFIX)/share/doc/greffier
CATALOGUE   = $(DESTDIR)/usr/lib/systemd/catalog
MAN         = $(DESTDIR)$(PREFIX)/share/man
PAGES       = $(wildcard man/*.[1578])
SERVICES    = $(notdir $(wildcard systemd/*.service))
TIMERS      = $(notdir $(wildcard systemd/*.timer))

.PHONY: help demo check build install uninstall bench soak fuzz audit
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## the main job in eight steps, under a minute after the build (as root; KEEP=1 keeps its directory)
	@tests/need.sh 'make demo' dbus-daemon:dbus-daemon
	@$(CARGO) build --release --locked
	@tests/demo.sh

check: ## format, lints, tests, documentation, the verifier alone, end to end (as root)
	@tests/need.sh 'make check' age-keygen:age dbus-daemon:dbus-daemon pkttyagent:polkitd mmdebstrap:mmdebstrap systemd-nspawn:systemd-container module.cryptography:python3-cryptography swtpm:"swtpm libtss2-tcti-swtpm0 libtss2-esys-3.0.2-0 libtss2-rc0 libtss2-mu0" mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mkfs.f2fs:f2fs-tools
	@tests/check.sh

build: ## the four programs (PROFILE=release or dev)
	@$(CARGO) build --profile $(PROFILE) --locked

install: build ## into DESTDIR and PREFIX; then, on the machine itself: systemd-sysusers, greffierctl init
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/sbin $(BUILT)/greffierd
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILT)/greffierctl $(BUILT)/greffier-view $(BUILT)/greffier-verify
	install -d $(UNITS)
	for unit in $(SERVICES); do sed 's|@PREFIX@|$(PREFIX)|' systemd/$$unit > $(UNITS)/$$unit || exit; done
	install -m 644 -t $(UNITS) $(addprefix systemd/,$(TIMERS))
	install -D -m 644 systemd/greffier.sysusers.conf $(SYSUSERS)/greffier.conf
	install -D -m 644 -t $(DOC) policy/trust-policy.example
	install -D -m 644 systemd/greffier.tmpfiles.conf $(TMPFILES)/greffier.conf
	install -D -m 644 -t $(CATALOGUE) systemd/greffier.catalog
	install -D -m 644 -t $(DBUS_POLICY) policy/org.greffier.Archive1.conf
	install -D -m 644 -t $(DBUS_XML) policy/org.greffier.Archive1.xml
	install -D -m 644 -t $(PROFILES) policy/profiles/*.toml
	install -D -m 644 -t $(POLKIT) policy/polkit/org.greffier.archive.policy
	install -D -m 644 -t $(DOC) policy/polkit/50-greffier.rules.example
	for page in $(PAGES); do install -D -m 644 -t $(MAN)/man$${page##*.} $$page; done

uninstall: ## removes what install put there; state, spool and /etc/greffier stay
	rm -f $(DESTDIR)$(PREFIX)/sbin/greffierd
	cd $(DESTDIR)$(PREFIX)/bin && rm -f greffierctl greffier-view greffier-verify
	cd $(UNITS) && rm -f $(SERVICES) $(TIMERS)
	rm -f $(TMPFILES)/greffier.conf $(SYSUSERS)/greffier.conf $(CATALOGUE)/greffier.catalog $(DOC)/trust-policy.example $(DOC)/50-greffier.rules.example
	rm -f $(POLKIT)/org.greffier.archive.policy
	rm -f $(DBUS_POLICY)/org.greffier.Archive1.conf $(DBUS_XML)/org.greffier.Archive1.xml
	rm -f $(addprefix $(PROFILES)/,$(notdir $(wildcard policy/profiles/*.toml)))
	for page in $(notdir $(PAGES)); do rm -f $(MAN)/man$${page##*.}/$$page; done

bench: ## the numbers, as ratios against known programs: a table, and target/bench/summary.json (as root)
	@tests/need.sh 'make bench' dbus-daemon:dbus-daemon /lib/systemd/systemd-journal-remote:systemd-journal-remote gocryptfs:gocryptfs fusermount3:fuse3 restic:restic age:age
	@$(CARGO) build --release --locked
	@$(CARGO) run --release --locked --manifest-path benches/Cargo.toml --target-dir target -- $(ROWS)

soak: ## what takes more than four minutes: 200 crashes, 2000 power cuts, every call in every way, every bit flipped, 15 minutes of 64 viewers
	@tests/need.sh 'make soak' age-keygen:age dbus-daemon:dbus-daemon swtpm:"swtpm libtss2-tcti-swtpm0 libtss2-esys-3.0.2-0 libtss2-rc0 libtss2-mu0" mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mkfs.f2fs:f2fs-tools
	GREFFIER_CRASHES=200 GREFFIER_POWER_CUTS=2000 GREFFIER_SOAK=1 GREFFIER_SOAK_SECONDS=$${GREFFIER_SOAK_SECONDS:-900} $(CARGO) test --release --locked -- --nocapture

fuzz: ## each fuzz target for FUZZ_SECONDS (60); installs cargo-fuzz
	@tests/need.sh 'make fuzz' g++:g++
	@tests/fuzz.sh

audit: ## licences, advisories, duplicates; needs cargo-deny and a network
	@command -v cargo-deny >/dev/null || { echo 'make audit: install cargo-deny first: cargo install --locked cargo-deny'; exit 2; }
	$(CARGO) deny --locked check
