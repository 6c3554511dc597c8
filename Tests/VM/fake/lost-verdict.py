#!/usr/bin/env python3
"""Shows that the NFS client loses the verdict of a TLS handshake when a reset arrives together with it.

    lost-verdict.py [--mounts N] [--gap MICROSECONDS] [--verdict ERRNO] [--shut-down]

Run it as root on a machine, better a virtual one, on which neither tlshd nor an NFS server runs: a mount that is caught
cannot be killed, and takes a processor until the next boot. The program is everything itself: an "NFS server" that
answers RPC-with-TLS's probe by STARTTLS (RFC 9289 section 4.1) and then resets the connection, and the handshake agent
that the kernel asks by generic netlink (family "handshake"), which answers DONE with EACCES. No TLS is spoken. The reset
comes GAP microseconds before DONE; without --gap it goes through -300 to 1500.

Each mount has to fail with EACCES. One that does not return has adopted the dead socket: net/sunrpc/xprtsock.c keeps the
handshake's status and the socket's errors in one field, xprt_err. xs_tls_handshake_done writes the status there,
xs_error_report the error of the reset, and xs_wake_error takes whatever is there by xchg(&xprt_err, 0), before
xs_tls_handshake_sync has read it. That then reads 0, success.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
import tempfile
import threading
import time

NETLINK_GENERIC, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 16, 270, 1
NLM_F_REQUEST, NLMSG_ERROR, GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 1, 2, 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_MCAST_GROUPS = 1, 2, 7
CTRL_ATTR_MCAST_GRP_NAME, CTRL_ATTR_MCAST_GRP_ID = 1, 2
CMD_ACCEPT, CMD_DONE = 2, 3
ACCEPT_SOCKFD, ACCEPT_HANDLER_CLASS, DONE_STATUS, DONE_SOCKFD = 1, 2, 1, 2  # include/uapi/linux/handshake.h
LAST_FRAGMENT = 0x80000000
PORT = 2049


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


class Agent:
    """The kernel's handshake agent, as far as this needs one."""

    def __init__(self) -> None:
        self.asks = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.asks.bind((0, 0))
        reply = self.call(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, b"handshake\0"))
        if reply is None:
            sys.exit("the kernel has no handshake family (CONFIG_NET_HANDSHAKE)")
        (self.family,) = struct.unpack("=H", reply[CTRL_ATTR_FAMILY_ID])
        groups = [attributes(group) for group in attributes(reply[CTRL_ATTR_MCAST_GROUPS]).values()]
        (number,) = [g[CTRL_ATTR_MCAST_GRP_ID] for g in groups if g[CTRL_ATTR_MCAST_GRP_NAME] == b"tlshd\0"]
        self.listens = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.listens.bind((0, 0))
        self.listens.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, struct.unpack("=I", number)[0])

    def call(self, family: int, command: int, body: bytes) -> dict[int, bytes] | None:
        message = struct.pack("=IHHII", 20 + len(body), family, NLM_F_REQUEST, 1, 0) + struct.pack("=BBH", command, 1, 0)
        self.asks.send(message + body)
        reply = self.asks.recv(65536)
        return None if struct.unpack_from("=H", reply, 4)[0] == NLMSG_ERROR else attributes(reply[20:])

    def accept(self) -> int:
        while True:
            self.listens.recv(65536)
            reply = self.call(self.family, CMD_ACCEPT, attribute(ACCEPT_HANDLER_CLASS, struct.pack("=I", 1)))
            if reply is not None:
                return struct.unpack("=i", reply[ACCEPT_SOCKFD])[0]

    def done(self, descriptor: int, status: int) -> None:
        body = attribute(DONE_STATUS, struct.pack("=I", status)) + attribute(DONE_SOCKFD, struct.pack("=i", descriptor))
        message = struct.pack("=IHHII", 20 + len(body), self.family, NLM_F_REQUEST, 1, 0)
        self.asks.send(message + struct.pack("=BBH", CMD_DONE, 1, 0) + body)


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def answer_probe(connection: socket.socket) -> None:
    (mark,) = struct.unpack(">I", receive(connection, 4))
    xid = receive(connection, mark & ~LAST_FRAGMENT)[:4]
    reply = xid + struct.pack(">4I", 1, 0, 0, 8) + b"STARTTLS" + struct.pack(">I", 0)
    connection.sendall(struct.pack(">I", LAST_FRAGMENT | len(reply)) + reply)


class Gaps:
    """Microseconds from the reset to DONE, for the mount that is tried."""

    now = 0


def wait_until(moment: int) -> None:
    while time.monotonic_ns() < moment:
        pass


def shut_down_when_taken_over(connection: socket.socket) -> None:
    """Shuts the connection down once the kernel uses it, which sets TCP_NODELAY then: it reports the socket's state."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
            time.sleep(0.02)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            break
        time.sleep(0.005)
    connection.close()


def serve(agent: Agent, listener: socket.socket, gaps: Gaps, options: argparse.Namespace) -> None:
    """Takes connections one after the other: probe, then reset and DONE almost at once."""
    verdict = options.verdict
    while True:
        connection, _ = listener.accept()
        gap = gaps.now
        try:
            answer_probe(connection)
        except ConnectionError:
            continue
        descriptor = agent.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        given = socket.socket(fileno=descriptor)
        if options.shut_down:
            given.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        moment = time.monotonic_ns() + 3_000_000
        if gap >= 0:
            wait_until(moment)
            connection.close()
            wait_until(moment + gap * 1000)
            agent.done(descriptor, verdict)
        else:
            wait_until(moment)
            agent.done(descriptor, verdict)
            wait_until(moment - gap * 1000)
            connection.close()
        if options.shut_down:
            threading.Thread(target=shut_down_when_taken_over, args=(given,), daemon=True).start()
        else:
            given.close()


def mount(folder: str, hard: bool) -> int:
    """mount(2) without a helper program. Returns the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = b"vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,xprtsec=mtls" + (b"" if hard else b",soft,timeo=10,retrans=1")
    result = libc.mount(b"127.0.0.1:/", folder.encode(), b"nfs4", 0, options)
    return ctypes.get_errno() if result else 0


def try_mount(folder: str, hard: bool, seconds: int) -> str:
    child = os.fork()
    if child == 0:
        os._exit(mount(folder, hard))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            number = os.waitstatus_to_exitcode(status)
            return errno.errorcode.get(number, str(number)) if number else "mounted"
        time.sleep(0.01)
    os.kill(child, 9)
    return "HANGS"


def main() -> int:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mounts", type=int, default=500)
    parser.add_argument("--gap", type=int)
    parser.add_argument("--hard", action="store_true", help="mount without soft, as mounts are: one that is caught never ends")
    parser.add_argument("--first", action="store_true", help="stop at the first verdict that was lost")
    parser.add_argument("--verdict", type=int, default=errno.EACCES)
    parser.add_argument(
        "--shut-down", action="store_true", help="as tlshd does: shut down a connection that the kernel uses after all"
    )
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    agent = Agent()
    listener = socket.create_server(("127.0.0.1", PORT), backlog=64)
    counts: dict[str, int] = {}
    gaps = Gaps()
    threading.Thread(target=serve, args=(agent, listener, gaps, options), daemon=True).start()
    for number in range(options.mounts):
        gaps.now = gap = options.gap if options.gap is not None else -300 + number * 50 % 1850
        result = try_mount(folder, options.hard, 20)
        counts[result] = counts.get(result, 0) + 1
        if result != "EACCES":
            print(f"mount {number + 1}, reset {gap} us before DONE({options.verdict}): {result}", flush=True)
        if result == "EIO" and options.first:
            return 1
        if result == "HANGS":
            print(f"on Linux {os.uname().release}, after {counts}: this mount cannot be killed")
            return 1
    print(counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
