# The verbs of this project; `make help` lists them. On Debian they install the packages they need; elsewhere `make build` names
# what is missing.
.DEFAULT_GOAL := build
SHELL := /bin/bash
# Why each: docs/decisions/0041-linking.md. The loader of a glibc before 2.36 does not know packed relocations.
PACKED = $(if $(shell grep -ls GLIBC_ABI_DT_RELR "$$(gcc -print-file-name=libc.so.6)"),-Xlinker -z -Xlinker pack-relative-relocs)
LINK = -Xswiftc -use-ld=lld -Xswiftc -L$(CURDIR)/.build/static -Xlinker -T -Xlinker $(CURDIR)/packaging/programs.ld \
    -Xlinker -z -Xlinker now $(PACKED) -Xlinker --no-export-dynamic \
    -Xswiftc -Xclang-linker -Xswiftc -static-libgcc
# The folder of the build is in no program, so that builds in two folders are equal; .ci/reproducible.
PLACELESS := -Xswiftc -file-prefix-map -Xswiftc $(CURDIR)=. -Xcc -ffile-prefix-map=$(CURDIR)=. \
    -Xswiftc -Xfrontend -Xswiftc -no-clang-module-breadcrumbs
# For another processor, the flags that name its SDK, and its library of C++; `.ci/sid arm64` sets both.
SWIFT_SDK ?=
LIBSTDCXX ?= $(shell gcc -print-file-name=libstdc++.a)
BUILD = mkdir -p .build/static && ln -sf $(LIBSTDCXX) .build/static/ && \
    swift build -c release --static-swift-stdlib --disable-local-rpath $(SWIFT_SDK) $(LINK) $(PLACELESS)
# Where `make install` puts what it installs; packagers set these. What is below SYSCONFDIR is the AppArmor profile: the settings are
# read from /etc/tlshd everywhere. tlshd looks for its other programs beside itself, in ../libexec/tlshd and in ../lib/tlshd.
DESTDIR ?=
PREFIX ?= /usr
SBINDIR ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec
SYSCONFDIR ?= /etc
LIBDIR ?= $(PREFIX)/lib
UNITDIR ?= $(LIBDIR)/systemd/system
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/tlshd
# What names installed files, among what `make install` installs.
INSTALLED_FILES := $(UNITDIR)/tlshd.service $(LIBDIR)/systemd/catalog/tlshd.catalog $(SYSCONFDIR)/apparmor.d/tlshd $(DOCDIR) \
    $(MANDIR)/man5/tlshd.conf.5 $(MANDIR)/man5/tlshctl-json.5 \
    $(MANDIR)/man7/tlshd-failures.7 $(MANDIR)/man8/tlshd.8 $(MANDIR)/man8/tlshctl.8 \
    $(DATADIR)/initramfs-tools/hooks/tlshd $(DATADIR)/initramfs-tools/scripts/tlshd $(LIBDIR)/dracut/modules.d/75tlshd
FUZZ_SECONDS ?= 3600
# Others want NVMe's keyring, or a second processor.
DEBUG_CASES := alerts client-anonymous client-x509 gone hundred keys priorities server-x509

.PHONY: help build probe simulation-program simulate model bench bench-programs soak soak-faults demo picture check check-vm check-sid check-arm64 check-containers check-debug-kernel test format fuzz install install-files dist reproducible deb image packages build-packages image-packages clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-20s %s\n", $$1, $$2 }' Makefile
	@echo "make install also takes DESTDIR, PREFIX, SBINDIR, LIBEXECDIR, SYSCONFDIR, UNITDIR, MANDIR and DOCDIR."

build: build-packages ## the daemons and tlshctl, in .build/release
	$(BUILD) --product tlshd
	$(BUILD) --product tlshd-worker
	$(BUILD) --product tlshd-signer
	$(BUILD) --product tlshctl

probe: build-packages ## what the VM case of the sandbox runs inside it
	$(BUILD) --product SandboxProbe

simulation-program: build-packages ## the broker in a made-up world, .build/release/Simulation
	$(BUILD) --product Simulation

simulate: simulation-program ## a million schedules of it
	.ci/simulation 1000000

model: packages ## every order of events of a model of broker, workers and signer, and the faults planted in it
	.ci/model
	.ci/model --mutants

bench-programs: build-packages ## what the benchmarks measure with
	$(BUILD) --product limit
	$(BUILD) --product HostBenchmark
	$(BUILD) --product SignerCost

bench: packages build bench-programs ## every benchmark, about ten minutes; writes docs/benchmarks.md
	Tests/Benchmarks/run

soak: packages build ## 2,000 refused mounts and 2,000 good ones on each kernel, idle and under load, some hours; SOAK_MOUNTS=N for fewer
	Tests/VM/run --soak --all
	SOAK_LOAD=1 Tests/VM/run --soak --all

soak-faults: packages ## the same with pauses of 0 to 50 ms at each step that ends a connection
	mkdir -p .build/static && ln -sf $(LIBSTDCXX) .build/static/
	for product in tlshd tlshd-worker tlshd-signer; do \
	    swift build -c release --static-swift-stdlib --disable-local-rpath $(LINK) --scratch-path .build-faults \
	        -Xswiftc -DFAULT_INJECTION --product $$product || exit 1; done
	Tests/VM/run --soak --all --daemon .build-faults/release

demo: packages build ## NFS, NVMe/TCP and AF_TLSH in a virtual machine, as a transcript
	Tests/VM/demo

picture: deb ## docs/status.svg, what tlshctl status shows in a guest
	Tests/VM/picture

check: packages ## format, lint, dependency rules, unit and interoperability tests, fuzzing, most VM cases; about half an hour
	.ci/check

check-vm: packages build probe deb image ## every VM case on each of its guests, an hour on a busy machine
	Tests/VM/run --all

check-sid: packages ## Debian's package with the Swift and the tools of Debian sid, in a chroot of it; 15 minutes
	.ci/sid

check-arm64: packages ## programs, unit tests and a guest of arm64, all emulated, with what Debian sid has; half an hour
	.ci/sid arm64

check-containers: ## builds and unit tests in a container of FAMILY (debian, fedora, opensuse, ubi9 or ubuntu; all, if none is named); BASE: another base image
	packaging/containers/build $(FAMILY)

check-debug-kernel: packages build ## the cases of the test module under a kernel with lock and memory debugging; builds that first
	Tests/VM/run $(DEBUG_CASES:%=tlsh-%@debug)

test: packages ## unit and interoperability tests alone
	swift test

format: ## rewrites the sources in the project's style
	swift format --in-place --recursive Package.swift Sources Tests
	clang-format -i $$(git ls-files 'Sources/*.c' 'Sources/*.h')

fuzz: packages ## the worker for FUZZ_SECONDS (an hour), beside it the parsers, which share as many
	.ci/fuzz $(FUZZ_SECONDS)

install: build install-files ## builds, and installs below DESTDIR: programs, unit, manual pages and what belongs to them

install-files: ## installs without building, for packages
ifeq ($(filter $(abspath $(LIBEXECDIR)),$(abspath $(SBINDIR)/../libexec) $(abspath $(SBINDIR)/../lib)),)
	$(error tlshd looks for tlshd-worker in $(abspath $(SBINDIR)/../libexec)/tlshd and $(abspath $(SBINDIR)/../lib)/tlshd: set LIBEXECDIR to one of these folders, without /tlshd)
endif
	install -D -m 755 .build/release/tlshd $(DESTDIR)$(SBINDIR)/tlshd
	install -D -m 755 .build/release/tlshd-worker $(DESTDIR)$(LIBEXECDIR)/tlshd/tlshd-worker
	install -D -m 755 .build/release/tlshd-signer $(DESTDIR)$(LIBEXECDIR)/tlshd/tlshd-signer
	install -D -m 755 .build/release/tlshctl $(DESTDIR)$(SBINDIR)/tlshctl
	install -D -m 644 systemd/tlshd.sysusers $(DESTDIR)$(LIBDIR)/sysusers.d/tlshd.conf
	install -D -m 644 systemd/tlshd.tmpfiles $(DESTDIR)$(LIBDIR)/tmpfiles.d/tlshd.conf
	install -D -m 644 systemd/tlshd.service $(DESTDIR)$(UNITDIR)/tlshd.service
	install -D -m 644 systemd/tlshd.catalog $(DESTDIR)$(LIBDIR)/systemd/catalog/tlshd.catalog
	install -D -m 644 packaging/apparmor/tlshd $(DESTDIR)$(SYSCONFDIR)/apparmor.d/tlshd
	install -D -m 644 packaging/apparmor/abstractions/tlshd-confined $(DESTDIR)$(SYSCONFDIR)/apparmor.d/abstractions/tlshd-confined
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/selinux packaging/selinux/tlshd.te packaging/selinux/tlshd.fc packaging/selinux/tlshd.if
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/examples systemd/examples/*
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/examples docs/examples/*
	install -D -m 644 -t $(DESTDIR)$(DOCDIR) *.md docs/*.md docs/*.svg
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/decisions docs/decisions/*
	cp -r contrib $(DESTDIR)$(DOCDIR)/
	chmod -R u=rwX,go=rX $(DESTDIR)$(DOCDIR)/contrib
	# The documents are in one directory here.
	sed -i -E 's,\]\((docs|\.\.)/,](,g' $(DESTDIR)$(DOCDIR)/*.md
	install -D -m 644 -t $(DESTDIR)$(MANDIR)/man5 docs/man/*.5
	install -D -m 644 -t $(DESTDIR)$(MANDIR)/man7 docs/man/*.7
	install -D -m 644 -t $(DESTDIR)$(DATADIR)/tlshd docs/tlshctl.schema.json
	install -D -m 644 -t $(DESTDIR)$(MANDIR)/man8 docs/man/*.8
	install -D -m 755 initramfs/initramfs-tools/hook $(DESTDIR)$(DATADIR)/initramfs-tools/hooks/tlshd
	install -D -m 644 initramfs/initramfs-tools/script $(DESTDIR)$(DATADIR)/initramfs-tools/scripts/tlshd
	install -D -m 755 -t $(DESTDIR)$(LIBDIR)/dracut/modules.d/75tlshd initramfs/dracut/*
	install -d $(DESTDIR)$(DATADIR)/bash-completion/completions $(DESTDIR)$(DATADIR)/zsh/site-functions \
	    $(DESTDIR)$(DATADIR)/fish/vendor_completions.d
	.build/release/tlshctl --generate-completion-script bash >$(DESTDIR)$(DATADIR)/bash-completion/completions/tlshctl
	sed -i '1{/^#!/d}' $(DESTDIR)$(DATADIR)/bash-completion/completions/tlshctl
	.build/release/tlshctl --generate-completion-script zsh >$(DESTDIR)$(DATADIR)/zsh/site-functions/_tlshctl
	.build/release/tlshctl --generate-completion-script fish >$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/tlshctl.fish
	# Files that name others of ours have the paths of Debian.
	find $(INSTALLED_FILES:%=$(DESTDIR)%) -type f -exec sed -i \
	    -e 's,/usr/sbin/\(tlshd\|tlshctl\)\b,$(SBINDIR)/\1,g' -e 's,/usr/libexec/tlshd\b,$(LIBEXECDIR)/tlshd,g' \
	    -e 's,/usr/share/doc/tlshd\b,$(DOCDIR),g' -e 's,/usr/share/tlshd\b,$(DATADIR)/tlshd,g' {} +

deb: packages build ## a Debian package, .build/deb/tlshd.deb, checked by lintian
	packaging/deb

dist: ## .build/tlshd-VERSION.tar.xz, the committed source with the package that tlshctl needs, so that it builds offline
	packaging/dist

reproducible: build-packages ## builds what is committed in two folders and compares the programs, about six minutes
	.ci/reproducible

image: image-packages build ## a container image, .build/image and .build/tlshd-image-VERSION.tar, without a container engine
	packaging/image

build-packages image-packages:
	@.ci/packages $(@:-packages=)

packages:
	@.ci/packages

clean: ## removes .build
	rm -rf .build
