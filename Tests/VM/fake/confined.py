"""confined.py PROFILE: enters an AppArmor profile, as code that has taken over one of our processes would be in it, and tries
what the process never does. Prints a line for each attempt: "refused" or "done", and its name."""

import ctypes
import os
import signal
import socket
import sys

profile = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
open("/etc/hostname", "w").write("guest\n")


def write():
    open("/etc/tlshd/config", "a").close()


def replace():
    os.rename("/etc/hostname", "/etc/hostname.old")


def execute():
    child = os.fork()
    if child == 0:
        try:
            os.execv("/bin/true", ["true"])
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        raise PermissionError


def load():
    ctypes.CDLL("/var/tmp/rig-library.so")


def send_datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()


def raw_socket():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def mount():
    if libc.mount(b"none", b"/mnt", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def trace():
    if libc.ptrace(16, 1, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def kill():
    os.kill(1, signal.SIGCONT)


def read():
    open("/etc/shadow").close()


def netlink():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16).close()


ATTEMPTS = {
    "tlshd": [write, replace, execute, load, send_datagram, raw_socket, mount, trace, kill],
    "tlshd-worker": [write, replace, execute, load, send_datagram, raw_socket, mount, trace, kill, read, netlink],
    "tlshd-signer": [write, replace, execute, load, send_datagram, raw_socket, mount, trace, kill, read, netlink],
}

with open("/proc/self/attr/current", "w") as attribute:
    attribute.write(f"changeprofile {profile}")
for attempt in ATTEMPTS[profile]:
    try:
        attempt()
        print("done", attempt.__name__)
    except OSError:
        print("refused", attempt.__name__)
