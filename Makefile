# The verbs of this project. `make demo` and `make check` install the Debian packages they need.
SHELL := /bin/bash
# Why each: docs/decisions/0041-linking.md.
LINK := -Xswiftc -use-ld=lld -Xswiftc -L$(CURDIR)/.build/static -Xlinker -T -Xlinker $(CURDIR)/packaging/programs.ld \
    -Xlinker -z -Xlinker now -Xlinker -z -Xlinker pack-relative-relocs -Xlinker --no-export-dynamic \
    -Xswiftc -Xclang-linker -Xswiftc -static-libgcc
BUILD := mkdir -p .build/static && ln -sf "$$(gcc -print-file-name=libstdc++.a)" .build/static/ && \
    swift build -c release --static-swift-stdlib --disable-local-rpath $(LINK)
DESTDIR ?=
FUZZ_SECONDS ?= 3600
# Others want NVMe's keyring, or a second processor.
DEBUG_CASES := alerts client-anonymous client-x509 gone hundred keys priorities server-x509

.PHONY: build probe simulation-program simulate model bench bench-programs soak soak-faults demo picture check check-debug-kernel test format fuzz install install-files deb packages clean

build: packages ## the daemons and tlshctl, in .build/release
	$(BUILD) --product tlshd
	$(BUILD) --product tlshd-worker
	$(BUILD) --product tlshd-signer
	$(BUILD) --product tlshctl

probe: packages ## what the VM case of the sandbox runs inside it
	$(BUILD) --product SandboxProbe

simulation-program: packages ## the broker in a made-up world, .build/release/Simulation
	$(BUILD) --product Simulation

simulate: simulation-program ## a million schedules of it
	.ci/simulation 1000000

model: packages ## every order of events of a model of broker, workers and signer, and the faults planted in it
	.ci/model
	.ci/model --mutants

bench-programs: packages ## what the benchmarks measure with
	$(BUILD) --product limit
	$(BUILD) --product HostBenchmark
	$(BUILD) --product SignerCost

bench: build bench-programs ## every benchmark, about ten minutes; writes docs/benchmarks.md
	Tests/Benchmarks/run

soak: build ## 2,000 refused mounts and 2,000 good ones on each kernel, idle and under load, some hours; SOAK_MOUNTS=N for fewer
	Tests/VM/run --soak --all
	SOAK_LOAD=1 Tests/VM/run --soak --all

soak-faults: packages ## the same with pauses of 0 to 50 ms at each step that ends a connection
	mkdir -p .build/static && ln -sf "$$(gcc -print-file-name=libstdc++.a)" .build/static/
	for product in tlshd tlshd-worker tlshd-signer; do \
	    swift build -c release --static-swift-stdlib --disable-local-rpath $(LINK) --scratch-path .build-faults \
	        -Xswiftc -DFAULT_INJECTION --product $$product || exit 1; done
	Tests/VM/run --soak --all --daemon .build-faults/release

demo: build ## NFS, NVMe/TCP and AF_TLSH in a virtual machine, as a transcript
	Tests/VM/demo

picture: deb ## docs/status.svg, what tlshctl status shows in a guest
	Tests/VM/picture

check: packages ## everything: format, lint, dependency rules, unit, interoperability, fuzzing, every VM case
	.ci/check

check-debug-kernel: build ## the cases of the test module under a kernel with lock and memory debugging; builds that first
	Tests/VM/run $(DEBUG_CASES:%=tlsh-%@debug)

test: packages ## unit and interoperability tests alone
	swift test

format: ## rewrites the sources in the project's style
	swift format --in-place --recursive Package.swift Sources Tests
	clang-format -i $$(git ls-files 'Sources/*.c' 'Sources/*.h')

fuzz: packages ## the worker for FUZZ_SECONDS (an hour), beside it the parsers, which share as many
	.ci/fuzz $(FUZZ_SECONDS)

install: build install-files ## into DESTDIR: binaries, unit, man pages and whatever belongs to them

# The same without building, for packages.
install-files:
	install -D -m 755 .build/release/tlshd $(DESTDIR)/usr/sbin/tlshd
	install -D -m 755 .build/release/tlshd-worker $(DESTDIR)/usr/libexec/tlshd/tlshd-worker
	install -D -m 755 .build/release/tlshd-signer $(DESTDIR)/usr/libexec/tlshd/tlshd-signer
	install -D -m 755 .build/release/tlshctl $(DESTDIR)/usr/sbin/tlshctl
	install -D -m 644 systemd/tlshd.sysusers $(DESTDIR)/usr/lib/sysusers.d/tlshd.conf
	install -D -m 644 systemd/tlshd.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/tlshd.conf
	install -D -m 644 systemd/tlshd.service $(DESTDIR)/usr/lib/systemd/system/tlshd.service
	install -D -m 644 systemd/tlshd.catalog $(DESTDIR)/usr/lib/systemd/catalog/tlshd.catalog
	install -D -m 644 packaging/apparmor/tlshd $(DESTDIR)/etc/apparmor.d/tlshd
	install -D -m 644 packaging/apparmor/abstractions/tlshd-confined $(DESTDIR)/etc/apparmor.d/abstractions/tlshd-confined
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/tlshd/selinux packaging/selinux/tlshd.te packaging/selinux/tlshd.fc \
	    packaging/selinux/tlshd.if
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/tlshd/examples systemd/examples/*
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/tlshd/examples docs/examples/*
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/tlshd *.md docs/*.md docs/*.svg
	install -D -m 644 -t $(DESTDIR)/usr/share/doc/tlshd/decisions docs/decisions/*
	cp -r contrib $(DESTDIR)/usr/share/doc/tlshd/
	chmod -R u=rwX,go=rX $(DESTDIR)/usr/share/doc/tlshd/contrib
	# The documents are in one directory here.
	sed -i -E 's,\]\((docs|\.\.)/,](,g' $(DESTDIR)/usr/share/doc/tlshd/*.md
	install -D -m 644 -t $(DESTDIR)/usr/share/man/man5 docs/man/*.5
	install -D -m 644 -t $(DESTDIR)/usr/share/man/man7 docs/man/*.7
	install -D -m 644 -t $(DESTDIR)/usr/share/tlshd docs/tlshctl.schema.json
	install -D -m 644 -t $(DESTDIR)/usr/share/man/man8 docs/man/*.8
	install -D -m 755 initramfs/initramfs-tools/hook $(DESTDIR)/usr/share/initramfs-tools/hooks/tlshd
	install -D -m 644 initramfs/initramfs-tools/script $(DESTDIR)/usr/share/initramfs-tools/scripts/tlshd
	install -D -m 755 -t $(DESTDIR)/usr/lib/dracut/modules.d/75tlshd initramfs/dracut/*
	install -d $(DESTDIR)/usr/share/bash-completion/completions $(DESTDIR)/usr/share/zsh/site-functions \
	    $(DESTDIR)/usr/share/fish/vendor_completions.d
	.build/release/tlshctl --generate-completion-script bash >$(DESTDIR)/usr/share/bash-completion/completions/tlshctl
	.build/release/tlshctl --generate-completion-script zsh >$(DESTDIR)/usr/share/zsh/site-functions/_tlshctl
	.build/release/tlshctl --generate-completion-script fish >$(DESTDIR)/usr/share/fish/vendor_completions.d/tlshctl.fish

deb: build ## a Debian package, .build/deb/tlshd.deb, checked by lintian
	packaging/deb

packages:
	@.ci/packages

clean:
	rm -rf .build
