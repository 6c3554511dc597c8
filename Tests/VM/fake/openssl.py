#!/usr/bin/env python3
"""OpenSSL as the other end of a connection of the test module's. Runs in the guest.

    openssl.py serve PORT [--count N] [OPTION...]
    openssl.py connect PORT [--bytes N] [OPTION...]

A server takes N connections and sends back what it gets, a client sends bytes and compares what comes back. OPTION:
--host ADDRESS, --certificate NAME (of the PKI), --demand (a certificate of the client), --psk IDENTITY KEY-IN-HEX,
--slowly (reads a little at a time, into a small buffer). Each event is a line on standard output.
"""

import argparse
import os
import socket
import ssl
import threading
import time

PKI = os.environ["PKI"]
lock = threading.Lock()


def tell(*words: object) -> None:
    with lock:
        print(*words, flush=True)


def context(options: argparse.Namespace, server: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    if options.psk:
        made.verify_mode = ssl.CERT_NONE
        identity, key = options.psk[0], bytes.fromhex(options.psk[1])
        if server:
            made.set_psk_server_callback(lambda offered: key if offered == identity else b"")
        else:
            made.set_psk_client_callback(lambda hint: (identity, key))
        return made
    made.set_alpn_protocols(["sunrpc"])
    made.load_verify_locations(f"{PKI}/ca.pem")
    made.verify_mode = ssl.CERT_REQUIRED if options.demand or not server else ssl.CERT_NONE
    if options.certificate:
        made.load_cert_chain(f"{PKI}/{options.certificate}.pem", f"{PKI}/{options.certificate}.key")
    return made


def serve_one(connection: socket.socket, secure: ssl.SSLContext) -> None:
    try:
        with secure.wrap_socket(connection, server_side=True) as session:
            tell("suite", session.cipher()[0], "certificate", session.getpeercert() and "yes")
            while data := session.recv(65536):
                session.sendall(data)
            tell("ended")
    except OSError as error:
        tell("failed", error)


def serve(options: argparse.Namespace) -> None:
    secure = context(options, True)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.port), family=family, backlog=512)
    tell("listening")
    threads = []
    for _ in range(options.count):
        connection, _ = listener.accept()
        threads.append(threading.Thread(target=serve_one, args=(connection, secure)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def connected(options: argparse.Namespace) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    if options.slowly:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(200):
        try:
            made.connect((options.host, options.port))
            return made
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise ConnectionRefusedError(options.port)


def connect(options: argparse.Namespace) -> None:
    try:
        connection = connected(options)
        if options.slowly:
            time.sleep(0.5)
        with context(options, False).wrap_socket(connection) as session:
            tell("suite", session.cipher()[0])
            sent = os.urandom(options.bytes)
            back = b""
            for start in range(0, len(sent), 16384):
                session.sendall(sent[start : start + 16384])
                while len(back) < min(len(sent), start + 16384):
                    part = session.recv(65536)
                    if not part:
                        raise ConnectionError("closed")
                    back += part
            tell("equal" if sent == back else "different", len(back))
    except OSError as error:
        tell("failed", error)


def main() -> None:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("serve", "connect"))
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=100000)
    parser.add_argument("--certificate")
    parser.add_argument("--demand", action="store_true")
    parser.add_argument("--slowly", action="store_true")
    parser.add_argument("--psk", nargs=2)
    options = parser.parse_args()
    (serve if options.side == "serve" else connect)(options)


if __name__ == "__main__":
    main()
