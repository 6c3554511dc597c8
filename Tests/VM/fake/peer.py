#!/usr/bin/env python3
"""A peer that misbehaves in the middle of a handshake, or handshakes many times at once. Runs in the guest.

    peer.py listen PORT stall|reset|plain [--rpc] [--after SECONDS]
    peer.py connect PORT stall|reset|handshake [--rpc] [--after SECONDS] [--count N] [--hold SECONDS]
            [--partial | --one-byte] [--pki FOLDER] [--source ADDRESS,...] [--pause SECONDS]

listen waits for clients and for their first bytes of TLS, connect is a client itself. Then "stall" says nothing more
until the other side closes, or for --hold seconds, in which connect comes back whenever it was closed; "reset" resets
the connection after --after seconds; "plain" answers by an RPC reply in clear text; "handshake" shakes hands with the PKI's client certificate, sends an RPC NULL over
TLS and reads the reply. --rpc puts RPC-with-TLS's start in front, as NFS wants it (RFC 9289 section 4.1). --partial
sends the first bytes of a ClientHello before that, --one-byte the first alone. The connections come from the addresses
of --source in turn, and come back after --pause seconds. Each event is a line on standard output: what, connection
number, milliseconds since the epoch.
"""

import argparse
import pathlib
import socket
import ssl
import struct
import sys
import threading
import time

AUTH_NONE, AUTH_TLS = 0, 7  # RFC 5531, RFC 9289
CALL, REPLY = 0, 1
NFS_PROGRAM, NFS_VERSION, NULL_PROCEDURE = 100003, 4, 0
LAST_FRAGMENT = 0x80000000
BEGIN_OF_CLIENT_HELLO = bytes.fromhex("160301 0200 01 0001fc 0303")

lock = threading.Lock()


def tell(what: str, number: int) -> None:
    with lock:
        print(what, number, int(time.time() * 1000), flush=True)


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def receive_record(connection: socket.socket) -> bytes:
    (mark,) = struct.unpack(">I", receive(connection, 4))
    return receive(connection, mark & ~LAST_FRAGMENT)


def send_record(connection: socket.socket, body: bytes) -> None:
    connection.sendall(struct.pack(">I", LAST_FRAGMENT | len(body)) + body)


def null_call(flavor: int) -> bytes:
    call = struct.pack(">6I", 0x52494721, CALL, 2, NFS_PROGRAM, NFS_VERSION, NULL_PROCEDURE)
    return call + struct.pack(">4I", flavor, 0, AUTH_NONE, 0)


def offer_tls(connection: socket.socket) -> None:
    """The server's part: answers the probe."""
    xid = receive_record(connection)[:4]
    send_record(connection, xid + struct.pack(">4I", REPLY, 0, AUTH_NONE, 8) + b"STARTTLS" + struct.pack(">I", 0))


def ask_for_tls(connection: socket.socket) -> None:
    send_record(connection, null_call(AUTH_TLS))
    if b"STARTTLS" not in receive_record(connection):
        raise ConnectionError("the server offers no TLS")


def reset(connection: socket.socket, after: float, number: int) -> None:
    time.sleep(after)
    # A linger time of zero makes close send RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    tell("reset", number)


def stall(connection: socket.socket, until: float, number: int) -> None:
    connection.settimeout(max(until - time.time(), 0.01))
    try:
        while connection.recv(65536):
            pass
        tell("closed", number)
    except ConnectionError:
        tell("closed", number)
    except TimeoutError:
        tell("held", number)
    finally:
        connection.close()


def serve(connection: socket.socket, options: argparse.Namespace, number: int) -> None:
    try:
        if options.rpc:
            offer_tls(connection)
        receive(connection, 1)
        tell("hello", number)
        if options.what == "reset":
            reset(connection, options.after, number)
        elif options.what == "plain":
            send_record(connection, struct.pack(">6I", 0x52494721, REPLY, 0, AUTH_NONE, 0, 0))
            stall(connection, time.time() + options.hold, number)
        else:
            stall(connection, time.time() + options.hold, number)
    except OSError as error:
        tell(f"lost-{type(error).__name__}", number)


def listen(options: argparse.Namespace) -> None:
    listener = socket.create_server(("127.0.0.1", options.port))
    tell("listening", 0)
    number = 0
    while True:
        connection, _ = listener.accept()
        number += 1
        tell("connection", number)
        threading.Thread(target=serve, args=(connection, options, number), daemon=True).start()


def handshake(connection: socket.socket, pki: pathlib.Path, number: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(pki / "ca.pem")
    context.load_cert_chain(pki / "client.pem", pki / "client.key")
    context.set_alpn_protocols(["sunrpc"])
    with context.wrap_socket(connection, server_hostname="server.rig") as secure:
        send_record(secure, null_call(AUTH_NONE))
        receive_record(secure)
        tell("answered", number)


def client(options: argparse.Namespace, number: int) -> None:
    until = time.time() + options.hold
    while True:
        try:
            source = options.source[number % len(options.source)]
            connection = socket.create_connection(("127.0.0.1", options.port), source_address=(source, 0))
            if options.rpc:
                ask_for_tls(connection)
            if options.partial:
                connection.sendall(BEGIN_OF_CLIENT_HELLO)
            if options.one_byte:
                connection.sendall(BEGIN_OF_CLIENT_HELLO[:1])
            tell("silent" if options.what == "stall" else "begun", number)
            if options.what == "handshake":
                handshake(connection, options.pki, number)
            elif options.what == "reset":
                reset(connection, options.after, number)
            else:
                stall(connection, until, number)
        except OSError as error:
            tell(f"lost-{type(error).__name__}-{error}".replace(" ", "-"), number)
        if options.what != "stall" or time.time() >= until:
            return
        time.sleep(options.pause)


def connect(options: argparse.Namespace) -> None:
    threads = [threading.Thread(target=client, args=(options, number + 1)) for number in range(options.count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("listen", "connect"))
    parser.add_argument("port", type=int)
    parser.add_argument("what", choices=("stall", "reset", "plain", "handshake"))
    parser.add_argument("--rpc", action="store_true")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--one-byte", action="store_true")
    parser.add_argument("--source", type=lambda text: text.split(","), default=["127.0.0.1"])
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--after", type=float, default=1)
    parser.add_argument("--hold", type=float, default=60)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--pki", type=pathlib.Path)
    options = parser.parse_args()
    (listen if options.side == "listen" else connect)(options)


if __name__ == "__main__":
    sys.exit(main())
