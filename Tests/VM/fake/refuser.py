#!/usr/bin/env python3
"""An NFS server that refuses each client's certificate in a way of its own. Runs in the guest.

    refuser.py PORT fin|alert-rst|rst --pki FOLDER [--spread MILLISECONDS] [--late]

It answers RPC-with-TLS's probe, shakes hands up to the client's Finished, and then refuses: "fin" sends the alert and FIN
and reads to the end; "alert-rst" sends the alert, and a reset a while after it; "rst" sends a reset alone. The while goes
from 0 to --spread, a millisecond more for each connection, and then from 0 again. With --late it waits as long before the
alert, too, so that the client is often done before.
"""

import argparse
import socket
import ssl
import struct
import time

from peer import offer_tls


def refusal(connection: socket.socket, context: ssl.SSLContext) -> bytes:
    """Shakes hands until the client's certificate is refused; the alert that is to be sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            session.do_handshake()
            raise ConnectionError("the certificate was accepted")
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("closed") from None
            incoming.write(data)
        except ssl.SSLError:
            return outgoing.read()


def refuse(connection: socket.socket, alert: bytes, how: str, wait: float, late: bool) -> None:
    if late:
        time.sleep(wait)
    if how != "rst":
        connection.sendall(alert)
    if how == "fin":
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(65536):
            pass
    else:
        time.sleep(wait)
        # A linger time of zero makes close send RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def main() -> None:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("port", type=int)
    parser.add_argument("how", choices=("fin", "alert-rst", "rst"))
    parser.add_argument("--pki", required=True)
    parser.add_argument("--spread", type=int, default=50)
    parser.add_argument("--late", action="store_true", help="wait before the alert, too")
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["sunrpc"])
    context.load_cert_chain(f"{options.pki}/server.pem", f"{options.pki}/server.key")
    context.load_verify_locations(f"{options.pki}/other-ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", options.port), backlog=64)
    print("listening", 0, int(time.time() * 1000), flush=True)
    number = 0
    while True:
        connection, _ = listener.accept()
        connection.settimeout(5)
        try:
            offer_tls(connection)
            refuse(connection, refusal(connection, context), options.how, number % (options.spread + 1) / 1000, options.late)
            number += 1
        except (OSError, ConnectionError, struct.error):
            connection.close()


if __name__ == "__main__":
    main()
