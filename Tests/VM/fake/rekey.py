#!/usr/bin/env python3
"""OpenSSL as the other end of a connection of the test module's, with key updates (SSL_key_update, which Python's own ssl module
does not offer). Runs in the guest.

    rekey.py serve|connect PORT [--certificate NAME] [--suite NAME] [--bytes N] [--update plain|request] [--every N] [--close]

A server sends back what it gets; a client sends bytes and compares what comes back. After every N bytes it updates its keys, with
"request" asking for ours too. --close: a server says close_notify after as many bytes as --bytes says. Each event is a line on
standard output.
"""

import argparse
import ctypes
import os
import socket
import time

PKI = os.environ["PKI"]
PART = 16384
HANDSHAKE, KEY_UPDATE = 22, 24
PEM = 1
VERIFY_PEER = 1

ssl = ctypes.CDLL("libssl.so.3")
crypto = ctypes.CDLL("libcrypto.so.3")
pointer = ctypes.c_void_p
for name in ("TLS_server_method", "TLS_client_method", "SSL_CTX_new", "SSL_new", "SSL_get_current_cipher"):
    getattr(ssl, name).restype = pointer
ssl.SSL_CIPHER_get_name.restype = ctypes.c_char_p
crypto.ERR_get_error.restype = ctypes.c_ulong
crypto.ERR_reason_error_string.restype = ctypes.c_char_p
MESSAGE_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_size_t, pointer, pointer
)


class Failure(Exception):
    """OpenSSL's words for what went wrong."""


def tell(*words: object) -> None:
    print(*words, flush=True)


@MESSAGE_CALLBACK
def show_message(write, version, content, bytes_, count, session, argument):
    if content == HANDSHAKE and count == 5 and bytes_[0] == KEY_UPDATE:
        tell("sent" if write else "received", "key update", bytes_[4])


def reason() -> str:
    text = crypto.ERR_reason_error_string(ctypes.c_ulong(crypto.ERR_get_error()))
    return text.decode() if text else "no reason"


def require(value: int, what: str) -> int:
    if value <= 0:
        raise Failure(f"{what}: {reason()}")
    return value


class Connection:
    def __init__(self, connected: socket.socket, options: argparse.Namespace):
        server = options.side == "serve"
        self.options = options
        self.socket = connected
        self.updated_at = options.every
        self.carried = 0
        context = pointer(ssl.SSL_CTX_new(pointer(ssl.TLS_server_method() if server else ssl.TLS_client_method())))
        require(ssl.SSL_CTX_load_verify_locations(context, f"{PKI}/ca.pem".encode(), None), "authorities")
        if options.certificate:
            chain, key = (f"{PKI}/{options.certificate}.{end}".encode() for end in ("pem", "key"))
            require(ssl.SSL_CTX_use_certificate_chain_file(context, chain), "certificate")
            require(ssl.SSL_CTX_use_PrivateKey_file(context, key, PEM), "key")
        if options.suite:
            require(ssl.SSL_CTX_set_ciphersuites(context, options.suite.encode()), "suite")
        ssl.SSL_CTX_set_verify(context, VERIFY_PEER, None)
        self.session = pointer(ssl.SSL_new(context))
        ssl.SSL_set_msg_callback(self.session, show_message)
        require(ssl.SSL_set_fd(self.session, connected.fileno()), "descriptor")
        require((ssl.SSL_accept if server else ssl.SSL_connect)(self.session), "handshake")
        tell("suite", ssl.SSL_CIPHER_get_name(pointer(ssl.SSL_get_current_cipher(self.session))).decode())

    def read(self) -> bytes:
        buffer = ctypes.create_string_buffer(65536)
        count = ssl.SSL_read(self.session, buffer, len(buffer))
        if count <= 0:
            tell("ended", ssl.SSL_get_error(self.session, count), reason())
            return b""
        return buffer.raw[:count]

    def write(self, data: bytes) -> None:
        """Updates keys first when it is time, then sends."""
        self.carried += len(data)
        if self.options.update and self.carried >= self.updated_at:
            self.updated_at += self.options.every
            require(ssl.SSL_key_update(self.session, 1 if self.options.update == "request" else 0), "key update")
        require(ssl.SSL_write(self.session, data, len(data)), "write")

    def echo(self) -> None:
        while data := self.read():
            self.write(data)
            if self.options.close and self.carried >= self.options.bytes:
                ssl.SSL_shutdown(self.session)
                tell("closed")
                # What the other end makes of it is seen there; it has time to.
                time.sleep(1)
                return

    def drive(self) -> None:
        sent = os.urandom(self.options.bytes)
        back = b""
        for start in range(0, len(sent), PART):
            self.write(sent[start : start + PART])
            while len(back) < min(len(sent), start + PART):
                part = self.read()
                if not part:
                    raise Failure("closed")
                back += part
        tell("equal" if sent == back else "different", len(back))


def connected(port: int) -> socket.socket:
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise ConnectionRefusedError(port)


def main() -> None:
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("serve", "connect"))
    parser.add_argument("port", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--suite")
    parser.add_argument("--bytes", type=int, default=200000)
    parser.add_argument("--update", choices=("plain", "request"))
    parser.add_argument("--every", type=int, default=32768)
    parser.add_argument("--close", action="store_true")
    options = parser.parse_args()
    try:
        if options.side == "serve":
            listener = socket.create_server(("127.0.0.1", options.port))
            tell("listening")
            Connection(listener.accept()[0], options).echo()
        else:
            Connection(connected(options.port), options).drive()
    except (OSError, Failure) as error:
        tell("failed", error)


if __name__ == "__main__":
    main()
