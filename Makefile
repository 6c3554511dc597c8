# The verbs of this project. `make demo` and `make check` install the Debian packages they need.
SHELL := /bin/bash
BUILD := swift build -c release --static-swift-stdlib -Xlinker -z -Xlinker now
DESTDIR ?=
FUZZ_SECONDS ?= 60

.PHONY: build probe demo check check-debug-kernel test format fuzz install packages clean

build: packages ## the daemons and tlshctl, in .build/release
	$(BUILD) --product tlshd
	$(BUILD) --product tlshd-worker
	$(BUILD) --product tlshctl

probe: packages ## what the VM case of the sandbox runs inside it
	$(BUILD) --product SandboxProbe

demo: build ## NFS and NVMe/TCP over TLS in a virtual machine, as a transcript
	Tests/VM/demo

check: packages ## everything: format, lint, dependency rules, unit, interoperability, fuzzing, every VM case
	.ci/check

check-debug-kernel: build ## the cases of the test module under a kernel with lock and memory debugging; builds that first
	Tests/VM/run $$(grep -l '^# module: tlsh$$' Tests/VM/cases/tlsh-*.sh | sed 's|.*/||; s|\.sh$$|@debug|')

test: packages ## unit and interoperability tests alone
	swift test

format: ## rewrites the sources in the project's style
	swift format --in-place --recursive Package.swift Sources Tests
	clang-format -i $$(git ls-files 'Sources/*.c' 'Sources/*.h')

fuzz: packages ## every fuzz target for FUZZ_SECONDS each
	.ci/fuzz $(FUZZ_SECONDS)

install: build ## into DESTDIR: binaries, unit, man pages
	install -D -m 755 .build/release/tlshd $(DESTDIR)/usr/sbin/tlshd
	install -D -m 755 .build/release/tlshd-worker $(DESTDIR)/usr/libexec/tlshd/tlshd-worker
	install -D -m 755 .build/release/tlshctl $(DESTDIR)/usr/sbin/tlshctl
	install -D -m 644 systemd/tlshd.sysusers $(DESTDIR)/usr/lib/sysusers.d/tlshd.conf
	install -D -m 644 systemd/tlshd.service $(DESTDIR)/usr/lib/systemd/system/tlshd.service
	install -D -m 644 docs/man/tlshd.8 $(DESTDIR)/usr/share/man/man8/tlshd.8
	install -D -m 644 docs/man/tlshd.conf.5 $(DESTDIR)/usr/share/man/man5/tlshd.conf.5

packages:
	@.ci/packages

clean:
	rm -rf .build
