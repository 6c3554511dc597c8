#!/usr/bin/env python3
"""Mounts an NFS export many times, by mount(2), and tells how each ended. Runs in the guest.

    mounts.py HOST XPRTSEC COUNT [--limit SECONDS] [--option TEXT]

One line on standard output for each mount that took longer than a second, and a last one with figures:
count=N EACCES=N mounted=N median_ms=N worst_ms=N. What is mounted is unmounted. A mount that does not return within
--limit seconds counts as HANGS and ends the run: it cannot be killed.
"""

import argparse
import collections
import contextlib
import ctypes
import errno
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)


def mount(folder: str, options: argparse.Namespace, address: str) -> int:
    """The errno of mount(2)."""
    text = f"vers=4.2,addr={address},clientaddr={'::' if ':' in address else '0.0.0.0'},xprtsec={options.xprtsec}"
    source = f"[{options.host}]:/" if ":" in options.host else f"{options.host}:/"
    if options.option:
        text += "," + options.option
    if libc.mount(source.encode(), folder.encode(), b"nfs4", 0, text.encode()):
        return ctypes.get_errno()
    libc.umount2(folder.encode(), 0)
    return 0


def try_once(folder: str, options: argparse.Namespace, address: str) -> tuple[str, float]:
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(mount(folder, options, address))
    while time.monotonic() < begin + options.limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            number = os.waitstatus_to_exitcode(status)
            return errno.errorcode.get(number, str(number)) if number else "mounted", time.monotonic() - begin
        time.sleep(0.002)
    explain(child)
    return "HANGS", time.monotonic() - begin


def explain(process: int) -> None:
    """Prints where in the kernel a mount is, what processor time it has used, and the state of the connections."""
    for name in ("stack", "stat"):
        with contextlib.suppress(OSError), open(f"/proc/{process}/{name}", encoding="ascii") as file:
            print(f"{name}: {file.read().strip()}", flush=True)
    subprocess.run(["ss", "-tanop", "( sport = :2049 or dport = :2049 )"], check=False)


def main() -> int:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host")
    parser.add_argument("xprtsec")
    parser.add_argument("count", type=int)
    parser.add_argument("--limit", type=float, default=30)
    parser.add_argument("--option", default="")
    options = parser.parse_args()
    address = socket.getaddrinfo(options.host, 2049, type=socket.SOCK_STREAM)[0][4][0]
    folder = tempfile.mkdtemp()
    ends: collections.Counter[str] = collections.Counter()
    times = []
    for number in range(options.count):
        end, seconds = try_once(folder, options, address)
        ends[end] += 1
        times.append(seconds)
        if seconds > 1 or number % 100 == 99:
            print(f"mount {number + 1}: {end} after {seconds * 1000:.0f} ms", flush=True)
        if end == "HANGS":
            break
    figures = " ".join(f"{end}={count}" for end, count in sorted(ends.items()))
    median, worst = statistics.median(times) * 1000, max(times) * 1000
    print(f"count={sum(ends.values())} {figures} median_ms={median:.0f} worst_ms={worst:.0f}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
