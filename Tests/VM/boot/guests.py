"""Guests: what there is to boot, one boot of it, and what it tells while it runs."""

import dataclasses
import os
import pathlib
import platform
import signal
import subprocess
import time
import typing

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
RIG = pathlib.Path(os.environ.get("TLSHD_RIG") or CACHE / "tlshd-rig").resolve()
MEMORY = 4096  # MiB; the kernel lets one request per 400 MiB wait to be accepted
POLL = 0.1  # seconds
# Seconds a case may take unless it says otherwise: for those that hang, on the slowest machine.
CASE_LIMIT = 600
SLACK = 60  # seconds beyond a case's own limit, or for cleaning up, after which the guest is taken for dead


@dataclasses.dataclass(frozen=True)
class Machine:
    """What QEMU emulates."""

    architecture: str
    elf: int  # e_machine of its programs
    words: tuple[str, ...]
    console: str


X86_64 = Machine("x86_64", 62, ("-M", "q35", "-cpu", "max"), "ttyS0")
ARM64 = Machine("aarch64", 183, ("-M", "virt", "-cpu", "neoverse-n1"), "ttyAMA0")


@dataclasses.dataclass(frozen=True)
class Guest:
    name: str
    parts: tuple[str, ...]  # of prepare
    root: str
    kernel: str
    initrd: str = ""
    # By what ends the name of the part of prepare that builds a kernel module for it, and the folder in the rig.
    module_suffix: str = ""
    # More for the kernel's command line.
    parameters: str = ""
    init: str = "agent"  # what the initramfs hands over to
    tpm: bool = False  # whether it has a TPM, which swtpm emulates
    diskless: str = ""  # what make-initramfs makes for a second machine beside it, whose root is what this one serves
    boot_limit: int = 300
    machine: Machine = X86_64

    @property
    def wants_package(self) -> bool:
        """Whether our Debian package is installed there."""
        return bool(self.diskless) or self.init.startswith("systemd")

    @property
    def is_uml(self) -> bool:
        return self.kernel.startswith("uml")


# What every kernel of Debian's can do to watch its memory: each object with red zones, poison and its last user, every allocation in
# 10 ms on a page of its own.
WATCHED = "slub_debug=FZPU page_poison=1 kfence.sample_interval=10"

GUESTS = {
    guest.name: guest
    for guest in (
        Guest("uml", ("pki", "uml"), "root-trixie", "uml"),
        Guest("debug", ("pki", "debug"), "root-trixie", "uml-debug", module_suffix="-debug"),
        Guest("qemu", ("pki", "trixie"), "root-trixie", "kernel", "initrd"),
        Guest("systemd", ("pki", "systemd"), "root-systemd", "kernel", "initrd", init="systemd", tpm=True, boot_limit=600),
        Guest("installed", ("pki", "systemd"), "root-systemd", "kernel", "initrd", init="systemd-installed", boot_limit=600),
        Guest("diskless", ("pki", "trixie", "boot"), "root-trixie", "kernel", "initrd", diskless="nfs"),
        Guest("diskless-nvme", ("pki", "trixie", "boot"), "root-trixie", "kernel", "initrd", diskless="nvme"),
        Guest("dracut", ("pki", "trixie", "boot"), "root-trixie", "kernel", "initrd", diskless="dracut-nfs"),
        Guest("dracut-nvme", ("pki", "trixie", "boot"), "root-trixie", "kernel", "initrd", diskless="dracut-nvme"),
        Guest("qemu-sid", ("pki", "trixie", "sid"), "root-sid", "kernel", "initrd"),
        Guest("qemu-7.2", ("pki", "sid"), "root-sid", "kernel-7.2", "initrd-7.2", module_suffix="-7.2"),
        Guest("ganesha", ("pki", "ganesha"), "root-ganesha", "kernel-7.2", "initrd-7.2", module_suffix="-7.2"),
        Guest("arm64", ("pki", "arm64"), "root-arm64", "kernel-arm64", "initrd-arm64", boot_limit=600, machine=ARM64),
        Guest("arm64-16k", ("pki", "arm64-16k"), "root-arm64", "kernel-arm64-16k", "initrd-arm64-16k", boot_limit=600, machine=ARM64),
        Guest("no-landlock", ("pki", "trixie"), "root-trixie", "kernel", "initrd", parameters="lsm=capability,yama,apparmor"),
        Guest("memory", ("pki", "trixie"), "root-trixie", "kernel", "initrd", parameters=WATCHED),
        Guest("memory-7.2", ("pki", "sid"), "root-sid", "kernel-7.2", "initrd-7.2", module_suffix="-7.2", parameters=WATCHED),
    )
}


@dataclasses.dataclass
class Case:
    name: str
    path: pathlib.Path
    shows: str
    guests: list[str]
    checked: list[str]  # guests on which `make check` runs it
    limit: int | None
    module: str  # part of prepare that makes what the case needs besides; empty for none


@dataclasses.dataclass
class Job:
    case: Case
    guest: Guest
    label: str

    @property
    def module(self) -> str:
        """The part of prepare that builds what the case loads for this guest's kernel; empty for none."""
        if self.case.module == "load":
            return "load-uml" if self.guest.is_uml else "load"
        return self.case.module and self.case.module + self.guest.module_suffix

    @property
    def limit(self) -> int:
        return self.case.limit or CASE_LIMIT


class Report(typing.Protocol):
    """Where a boot tells what happens."""

    live: bool

    def note(self, text: str) -> None: ...

    def progress(self, text: str, seconds: int) -> None: ...

    def raw(self, text: str) -> None: ...

    def result(self, label: str, passed: bool, seconds: float, texts: list[tuple[str, str]]) -> None: ...


class Boot:
    """One run of a guest. `go` returns the jobs that it did not get to; all of them if it did not boot and `may_fail` is true."""

    def __init__(self, guest: Guest, jobs: list[Job], folder: pathlib.Path, accel: str, report: Report, may_fail: bool):
        self.guest = guest
        self.jobs = jobs
        self.folder = folder
        self.accel = accel
        self.report = report
        self.may_fail = may_fail
        self.seen = 0
        self.booted = False
        self.ended = 0
        self.running: Job | None = None
        self.changed = time.monotonic()
        self.followed = 0
        self.told = 0

    def go(self, environment: dict[str, str]) -> list[Job]:
        self.folder.mkdir(parents=True)
        (self.folder / "events").touch()
        vm = self.folder.parent / "vm"
        lines = (f"{job.label} {job.limit} {vm}/{job.case.path.parent.name}/{job.case.path.name}\n" for job in self.jobs)
        (self.folder / "plan").write_text("".join(lines))
        variables = "".join(f"{key}={value}\n" for key, value in environment.items())
        variables += f"RIG_MODULE=/host{RIG}/tlsh{self.guest.module_suffix}/tlsh.ko\n"
        variables += f"RIG_GUEST={self.guest.name}\nRIG_VM=/host{vm}\n"
        (self.folder / "environment").write_text(variables)
        if self.guest.diskless and (problem := self.make_initramfs(environment)):
            self.report.result(self.jobs[0].label, False, 0, [("why", "its initramfs cannot be made: " + problem)])
            self.ended = 1
            return self.rest()
        with open(self.folder / "console", "wb") as console:
            # The guest dies with this program, however that ends.
            words = ["setpriv", "--pdeathsig", "KILL", *self.command()]
            processes = [self.start_tpm()] if self.guest.tpm else []
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
            processes += [process] + ([self.start_diskless()] if self.guest.diskless else [])
            try:
                self.watch(process)
            finally:
                for started in processes:
                    if started.poll() is None:
                        os.killpg(started.pid, signal.SIGKILL)
                    started.wait()
        return self.rest()

    def make_initramfs(self, environment: dict[str, str]) -> str:
        """Has the package put tlshd into an initramfs; what went wrong, if anything did."""
        deb = environment["RIG_DEB"].removeprefix("/host")
        words = [str(HERE / "make-initramfs"), str(RIG), deb, str(self.folder), self.guest.diskless]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        return "" if made.returncode == 0 else made.stdout + made.stderr

    def start_diskless(self) -> subprocess.Popen:
        """The second machine: the same kernel, a wire to the first, and nothing else."""
        words = [f"qemu-system-{X86_64.architecture}", *X86_64.words, "-accel", self.accel, "-smp", "1", "-m", "1024"]
        words += ["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-vga", "none"]
        words += ["-netdev", f"stream,id=wire,server=off,reconnect=1,addr.type=unix,addr.path={self.wire()}"]
        words += ["-device", "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:02,romfile="]
        words += ["-kernel", str(RIG / self.guest.kernel / "vmlinuz"), "-initrd", str(self.folder / "initramfs.img")]
        words += ["-append", f"console={X86_64.console} panic=-1 net.ifnames=0 {(self.folder / 'parameters').read_text().strip()}"]
        with open(self.folder / "console-diskless", "wb") as console:
            words = ["setpriv", "--pdeathsig", "KILL", *words]
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )

    def start_tpm(self) -> subprocess.Popen:
        """An empty TPM 2.0, which ends with the guest."""
        (self.folder / "tpm").mkdir()
        words = ["setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/tpm"]
        words += ["--ctrl", f"type=unixio,path={self.tpm_socket()}", "--terminate"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and not os.path.exists(self.tpm_socket()):
            time.sleep(POLL)
        return process

    def tpm_socket(self) -> str:
        return f"/tmp/rig-tpm-{os.getpid()}"

    def wire(self) -> str:
        # The path of a unix socket must be short.
        return f"/tmp/rig-wire-{os.getpid()}"

    def command(self) -> list[str]:
        agent = self.folder.parent / "vm/boot/agent"
        if self.guest.is_uml:
            words = [str(HERE / "uml"), str(RIG), self.guest.root, self.guest.kernel]
            return [*words, str(self.folder), str(MEMORY), str(agent)]
        root, kernel, machine = RIG / self.guest.root / "tree", RIG / self.guest.kernel, self.guest.machine
        words = [f"qemu-system-{machine.architecture}", *machine.words, "-accel", self.accel, "-smp", "2", "-m", str(MEMORY)]
        words += ["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]
        if self.guest.diskless:
            words += ["-netdev", f"stream,id=wire,server=on,addr.type=unix,addr.path={self.wire()}"]
            words += ["-device", "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:01,romfile="]
        else:
            words += ["-nic", "none"]
        if self.guest.tpm:
            words += ["-chardev", f"socket,id=tpm,path={self.tpm_socket()}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
            words += ["-device", "tpm-tis,tpmdev=tpm0"]
        words += ["-kernel", str(kernel / "vmlinuz"), "-initrd", str(RIG / self.guest.initrd / "initrd.gz")]
        append = f"console={machine.console} quiet loglevel=4 panic=-1 {self.guest.parameters}"
        words += ["-append", f"{append} rigagent={agent} riginit={self.guest.init}"]
        shares = (("root", root, True), ("host", "/", True), ("modules", kernel / "lib/modules", True))
        for tag, path, readonly in (*shares, ("out", self.folder, False)):
            share = f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap"
            words += ["-virtfs", share + (",readonly=on" if readonly else "")]
        return words

    def watch(self, process: subprocess.Popen) -> None:
        """Follows the guest's events until it is off, or takes it for dead."""
        while True:
            alive = process.poll() is None
            if self.report.live:
                self.follow()
            for line in self.new_events():
                self.event(line.split())
            self.tell_progress()
            if not alive:
                break
            silent = time.monotonic() - self.changed
            if silent > self.patience():
                self.fail_running(f"the guest hung: nothing for {silent:.0f} s")
                return
            time.sleep(POLL)
        self.fail_running("the guest died (kernel panic?)")

    def patience(self) -> int:
        if self.running:
            return self.running.limit + SLACK
        # The agent gives a clean-up 60 s.
        return self.guest.boot_limit if not self.booted else 60 + SLACK

    def follow(self) -> None:
        """Prints what the running case has said since the last look."""
        if self.running:
            text = read(self.folder / self.running.label / "log")
            whole = text.rfind("\n") + 1
            self.report.raw(text[self.followed : whole])
            self.followed = whole

    def tell_progress(self) -> None:
        seconds = int(time.monotonic() - self.changed)
        if seconds != self.told and seconds >= 2 and not self.booted:
            self.report.progress(f"{self.guest.name} boots", seconds)
        elif seconds != self.told and seconds >= 10 and self.running and not self.report.live:
            self.report.progress(f"{self.running.label} runs", seconds)
        self.told = seconds

    def new_events(self) -> list[str]:
        text = (self.folder / "events").read_text()
        whole = text.rfind("\n") + 1
        lines = text[self.seen : whole].splitlines()
        self.seen = whole
        return lines

    def event(self, words: list[str]) -> None:
        self.changed = time.monotonic()
        match words:
            case ["ready", release]:
                self.booted = True
                self.report.note(f"{self.guest.name} runs {release}, {len(self.jobs)} cases")
            case ["start", label]:
                self.running = next(job for job in self.jobs if job.label == label)
            case ["end", label, status, took]:
                if self.report.live:
                    self.follow()
                    self.followed = 0
                self.ended += 1
                self.running = None
                self.report.result(label, status == "0", int(took) / 1000, self.texts(label))
            case ["dirty", label, *why]:
                self.report.note(f"{self.guest.name} boots anew after {label}: {' '.join(why)}")

    def texts(self, label: str) -> list[tuple[str, str]]:
        files = (("case", "log"), ("daemon's log", "daemon.log"), ("kernel's log since the case began", "dmesg"))
        return [(title, read(self.folder / label / name)) for title, name in files]

    def fail_running(self, why: str) -> None:
        console = ("end of the console", "\n".join(read(self.folder / "console").splitlines()[-60:]))
        if self.running:
            texts = [("why", why), *self.texts(self.running.label)[:2], console]
            self.report.result(self.running.label, False, time.monotonic() - self.changed, texts)
            self.ended += 1
            self.running = None
        elif not self.booted and self.may_fail:
            self.report.note(f"{self.guest.name} did not boot ({why}); it boots once more")
        elif not self.booted:
            for job in self.jobs:
                texts = [("why", f"the guest {self.guest.name} did not boot"), console] if job is self.jobs[0] else []
                self.report.result(job.label, False, 0, texts)
            self.ended = len(self.jobs)
        elif self.ended == 0:
            # It came up and did nothing: another boot would do the same.
            self.report.result(self.jobs[0].label, False, 0, [("why", why), console])
            self.ended = 1

    def rest(self) -> list[Job]:
        return self.jobs[self.ended :]


def read(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace").replace("\r", "")
    except FileNotFoundError:
        return ""


def hardware_acceleration(guest: Guest) -> str:
    """KVM when a guest really starts under it: the device can be there and not work."""
    machine = guest.machine
    if machine.architecture != platform.machine() or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg,thread=multi"
    words = [f"qemu-system-{machine.architecture}", *machine.words, "-accel", "kvm", "-m", "512", "-display", "none"]
    words += ["-serial", "stdio", "-monitor", "none", "-no-reboot", "-nic", "none"]
    words += ["-kernel", str(RIG / guest.kernel / "vmlinuz"), "-initrd", str(RIG / guest.initrd / "initrd.gz")]
    words += ["-append", f"console={machine.console} quiet panic=-1 rigprobe"]
    try:
        probe = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
        works = b"RIG-PROBE-OK" in probe.stdout
    except subprocess.TimeoutExpired as late:
        works = b"RIG-PROBE-OK" in (late.stdout or b"")
    return "kvm" if works else "tcg,thread=multi"
