#!/usr/bin/env python3
"""A stranger that lets the other side compute: it sends what is expensive to look at, and can prove nothing.

    stranger.py --list
    stranger.py client PORT INPUT [--rpc] [--hold SECONDS] [--count N] [--pause SECONDS]
    stranger.py server PORT INPUT [--rpc] [--count N]

client connects and sends INPUT, server listens for --count clients of ours, one by default, and answers by it; both are TLS 1.3 as far as
they need be, with keys that nobody trusts. With --hold a client comes back until that many seconds are over, with
--count there are several of them, each waits --pause seconds between two connections; --rpc puts RPC-with-TLS's start
in front, as NFS wants it. Inputs that end in "unfinished" keep their connection open until the other side closes it or
--hold is over. Each event is a line on standard output: what, connection number, milliseconds since the epoch; of
"bytes" the number is how many were sent.
"""

import argparse
import array
import base64
import collections.abc
import ctypes
import fcntl
import hashlib
import hmac
import itertools
import os
import pathlib
import socket
import sys
import termios
import threading
import time

import der
from peer import ask_for_tls, offer_tls, receive, tell

HANDSHAKE, APPLICATION_DATA = 22, 23  # RFC 8446 section 5.1
CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS, CERTIFICATE, CERTIFICATE_VERIFY, FINISHED = 1, 2, 8, 11, 15, 20
RSA_PSS_SHA256 = 0x0804
X25519 = 29
GROUPS = {  # name: number, a share
    "SECP256R1": (23, bytes.fromhex(
        "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315E"
        "CECBB6406837BF51F5")),
    "SECP384R1": (24, bytes.fromhex(
        "04AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB73617DE4A96262C"
        "6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F")),
    "SECP521R1": (25, bytes.fromhex(
        "0400C6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C185"
        "6A429BF97E7E31C2E5BD66011839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9"
        "013FAD0761353C7086A272C24088BE94769FD16650")),
    "X25519": (29, b"\x09" + bytes(31)),
    "X448": (30, b"\x05" + bytes(55)),
    # The encapsulation key of zeros is a valid one.
    "X25519-MLKEM768": (0x11EC, bytes(1184) + b"\x09" + bytes(31)),
    **{f"FFDHE{8 * size}": (0x100 + index, b"\x7f" + os.urandom(size - 1))
       for index, size in enumerate((256, 384, 512, 768, 1024))},
}
GROUPS["SECP256R1-MLKEM768"] = (0x11EB, GROUPS["SECP256R1"][1] + bytes(1184))
GROUPS["SECP384R1-MLKEM1024"] = (0x11ED, GROUPS["SECP384R1"][1] + bytes(1568))


def prefixed(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + prefixed(3, body)


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + prefixed(2, body)


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def x25519(scalar: int, u: int) -> int:
    """RFC 7748 section 5."""
    p = 2**255 - 19
    x2, z2, x3, z3, swapped = 1, 0, u, 1, 0
    for bit in reversed(range(255)):
        k = scalar >> bit & 1
        if k != swapped:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swapped = k
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swapped:
        x2, z2 = x3, z3
    return x2 * pow(z2, p - 2, p) % p


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


class Protection:
    """One direction's AES-128-GCM (RFC 8446 section 5.2), by GnuTLS."""

    library = ctypes.CDLL("libgnutls.so.30")

    def __init__(self, secret: bytes) -> None:
        key, self.iv = expand_label(secret, b"key", b"", 16), expand_label(secret, b"iv", b"", 12)
        self.sequence = 0
        self.handle = ctypes.c_void_p()
        number = self.library.gnutls_cipher_get_id(b"AES-128-GCM")
        if self.library.gnutls_aead_cipher_init(ctypes.byref(self.handle), number, ctypes.byref(Datum(key, 16))) < 0:
            raise OSError("no AES-128-GCM")

    def __del__(self) -> None:
        if self.handle:
            self.library.gnutls_aead_cipher_deinit(self.handle)

    def nonce(self) -> bytes:
        mask = int.from_bytes(self.iv, "big") ^ self.sequence
        self.sequence += 1
        return mask.to_bytes(12, "big")

    def run(self, call: str, header: bytes, data: bytes, room: int) -> bytes:
        result, size = ctypes.create_string_buffer(room + 1), ctypes.c_size_t(room)
        code = getattr(self.library, call)(
            self.handle, self.nonce(), ctypes.c_size_t(12), header, ctypes.c_size_t(5), ctypes.c_size_t(16), data,
            ctypes.c_size_t(len(data)), result, ctypes.byref(size))
        if code < 0:
            raise OSError(f"{call}: {code}")
        return result.raw[: size.value]

    def seal(self, kind: int, data: bytes) -> bytes:
        header = bytes([APPLICATION_DATA, 3, 3]) + (len(data) + 17).to_bytes(2, "big")
        return header + self.run("gnutls_aead_cipher_encrypt", header, data + bytes([kind]), len(data) + 17)

    def open(self, header: bytes, body: bytes) -> tuple[int, bytes]:
        inner = self.run("gnutls_aead_cipher_decrypt", header, body, len(body) - 16).rstrip(b"\0")
        return inner[-1], inner[:-1]


def extract(salt: bytes, key: bytes) -> bytes:
    return hmac.new(salt, key, hashlib.sha256).digest()


def expand_label(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    info = size.to_bytes(2, "big") + prefixed(1, b"tls13 " + label) + prefixed(1, context)
    result, block = b"", b""
    for counter in itertools.count(1):
        if len(result) >= size:
            return result[:size]
        block = hmac.new(secret, block + info + bytes([counter]), hashlib.sha256).digest()
        result += block
    raise AssertionError


class Conversation:
    """One connection, as far as a stranger gets in TLS 1.3 with TLS_AES_128_GCM_SHA256 and X25519."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.scalar = int.from_bytes(os.urandom(32), "little") & ~7 & (1 << 255) - 1 | 1 << 254
        self.transcript = b""
        self.sending: Protection | None = None
        self.receiving: Protection | None = None
        self.pending = b""
        self.sent = 0

    def share(self) -> bytes:
        return x25519(self.scalar, 9).to_bytes(32, "little")

    def send(self, data: bytes, size: int = 16_000) -> None:
        """Sends handshake messages, in records of at most `size` bytes."""
        self.transcript += data
        out = b""
        for start in range(0, len(data), size):
            part = data[start : start + size]
            if self.sending:
                out += self.sending.seal(HANDSHAKE, part)
            else:
                out += bytes([HANDSHAKE, 3, 3]) + prefixed(2, part)
        self.sent += len(out)
        self.connection.sendall(out)

    def receive(self) -> tuple[int, bytes]:
        """The next handshake message."""
        while len(self.pending) < 4 or len(self.pending) < 4 + int.from_bytes(self.pending[1:4], "big"):
            header = receive(self.connection, 5)
            kind, body = header[0], receive(self.connection, int.from_bytes(header[3:], "big"))
            if kind == APPLICATION_DATA and self.receiving:
                kind, body = self.receiving.open(header, body)
            if kind == 20:
                continue
            if kind != HANDSHAKE:
                raise ConnectionError(f"record of type {kind}, {body[:2].hex()}")
            self.pending += body
        size = 4 + int.from_bytes(self.pending[1:4], "big")
        whole, self.pending = self.pending[:size], self.pending[size:]
        self.transcript += whole
        return whole[0], whole[4:]

    def protect(self, share: bytes, is_client: bool) -> None:
        """Both hellos have gone: the handshake's keys (RFC 8446 section 7.1)."""
        shared = x25519(self.scalar, int.from_bytes(share, "little") & (1 << 255) - 1).to_bytes(32, "little")
        derived = expand_label(extract(bytes(32), bytes(32)), b"derived", hashlib.sha256(b"").digest(), 32)
        secret, digest = extract(derived, shared), hashlib.sha256(self.transcript).digest()
        client, server = (Protection(expand_label(secret, label, digest, 32)) for label in (b"c hs traffic", b"s hs traffic"))
        self.sending, self.receiving = (client, server) if is_client else (server, client)


def client_hello(
    shares: list[tuple[int, bytes]], groups: list[int], suites: list[int] | None = None, protocols: int = 1,
    staples: bool = False, more: bytes = b"",
) -> bytes:
    schemes = numbers(0x0804, 0x0805, 0x0806, 0x0403, 0x0503, 0x0603, 0x0807, 0x0905, 0x0401)
    extensions = (
        extension(43, prefixed(1, numbers(0x0304)))
        + extension(10, prefixed(2, numbers(*groups)))
        + extension(13, prefixed(2, schemes))
        + extension(51, prefixed(2, b"".join(numbers(group) + prefixed(2, share) for group, share in shares)))
        + extension(16, prefixed(2, prefixed(1, b"sunrpc") + prefixed(1, b"a") * (protocols - 1)))
        + (extension(5, b"\x01\0\0\0\0") if staples else b"")
        + more
    )
    start = b"\x03\x03" + os.urandom(32) + b"\0"
    return message(
        CLIENT_HELLO, start + prefixed(2, numbers(*(suites or [0x1301, 0x1302]))) + b"\x01\0" + prefixed(2, extensions)
    )


def find_share(extensions: bytes, is_hello: bool) -> bytes:
    while extensions:
        kind, size = int.from_bytes(extensions[:2], "big"), int.from_bytes(extensions[2:4], "big")
        body, extensions = extensions[4 : 4 + size], extensions[4 + size :]
        if kind == 51:
            body = body[2:] if is_hello else body
            while body:
                group, size = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
                if group == X25519:
                    return body[4 : 4 + size]
                body = body[4 + size :]
    raise ConnectionError("no share of X25519")


def certificate_message(chain: list[tuple[bytes, bytes]]) -> bytes:
    """Certificates, each with its stapled response or nothing."""
    entries = b"".join(
        prefixed(3, one) + prefixed(2, extension(5, b"\x01" + prefixed(3, staple)) if staple else b"")
        for one, staple in chain
    )
    return message(CERTIFICATE, b"\0" + prefixed(3, entries))


def verify_message(size: int) -> bytes:
    # Below every modulus of its size.
    return message(CERTIFICATE_VERIFY, numbers(RSA_PSS_SHA256) + prefixed(2, b"\x01" + os.urandom(size - 1)))


def present(talk: Conversation, chain: list[tuple[bytes, bytes]], size: int, record: int = 16_000) -> None:
    talk.send(certificate_message(chain), record)
    talk.send(verify_message(size))


def begin(talk: Conversation, staples: bool = False) -> None:
    """A client's part up to its server's Finished."""
    talk.send(client_hello([(X25519, talk.share())], [X25519], staples=staples))
    kind, hello = talk.receive()
    if kind != SERVER_HELLO:
        raise ConnectionError("no ServerHello")
    talk.protect(find_share(hello[34 + 1 + hello[34] + 5 :], is_hello=False), is_client=True)
    while kind != FINISHED:
        kind, _ = talk.receive()


def as_client(talk: Conversation, chain: list[tuple[bytes, bytes]], size: int, record: int = 16_000) -> None:
    begin(talk, staples=any(staple for _, staple in chain))
    present(talk, chain, size, record)


def as_server(talk: Conversation, chain: list[tuple[bytes, bytes]], size: int) -> None:
    _, hello = talk.receive()
    position = 34
    session = hello[position + 1 : position + 1 + hello[position]]
    position += 1 + hello[position]
    position += 2 + int.from_bytes(hello[position : position + 2], "big")
    position += 1 + hello[position]
    share = find_share(hello[position + 2 :], is_hello=True)
    extensions = extension(43, numbers(0x0304)) + extension(51, numbers(X25519) + prefixed(2, talk.share()))
    talk.send(
        message(
            SERVER_HELLO,
            b"\x03\x03" + os.urandom(32) + prefixed(1, session) + numbers(0x1301) + b"\0" + prefixed(2, extensions),
        )
    )
    talk.protect(share, is_client=False)
    talk.send(message(ENCRYPTED_EXTENSIONS, prefixed(2, extension(16, prefixed(2, prefixed(1, b"sunrpc"))))))
    present(talk, chain, size)


def self_made(modulus: int, exponent: int) -> list[tuple[bytes, bytes]]:
    return [(der.certificate(der.rsa_key(der.random_modulus(modulus), der.random_exponent(exponent))), b"")]


def usual(count: int = 1) -> list[tuple[bytes, bytes]]:
    return self_made(2048, 17) * count


def padded(extensions: tuple[bytes, ...] = (), subject: bytes = der.name("stranger")) -> list[tuple[bytes, bytes]]:
    return [(der.certificate(der.rsa_key(der.random_modulus(2048), 65537), subject, extensions=extensions), b"")]


def stapled(modulus: int, exponent: int) -> list[tuple[bytes, bytes]]:
    """A response whose signer, inside it, has a costly key, and was signed by the second certificate with a true key."""
    key = der.Signer()
    issuer = der.certificate(key.public, der.name("issuer"), extensions=(der.AUTHORITY,), signer=key)
    leaf = der.certificate(key.public, der.name("leaf"), der.name("issuer"), signer=key)
    costly = der.rsa_key(der.random_modulus(modulus), der.random_exponent(exponent))
    signer = der.certificate(costly, der.name("signer"), der.name("issuer"), (der.OCSP_SIGNING,), signer=key)
    return [(leaf, der.ocsp_response(der.name("issuer"), key.public, "signer", signer, modulus // 8)), (issuer, b"")]


def many_staples(count: int) -> list[tuple[bytes, bytes]]:
    """Each certificate may have signed each response."""
    key = der.rsa_key(der.random_modulus(8192), der.random_exponent(64))
    one = der.certificate(key, der.name("issuer"), der.name("issuer"), (der.AUTHORITY,))
    return [(one, der.ocsp_response(der.name("issuer"), key, "nobody", b"", 1024))] * count


def borrowed() -> list[tuple[bytes, bytes]]:
    """Somebody else's certificates, from a PEM file, which the other side trusts."""
    pieces = pathlib.Path(borrowed_from).read_text().split("-----BEGIN CERTIFICATE-----")[1:]
    return [(base64.b64decode(piece.split("-----END")[0]), b"") for piece in pieces]


def dsa(bits: int) -> list[tuple[bytes, bytes]]:
    return [(der.certificate(der.dsa_key(bits, bits)), b"")]


borrowed_from = ""  # --certificate
SIZE = 88_000  # of a chain that fits into the bound of a handshake

# name: the chain, the bytes of the signature
CHAINS = {
    "rsa-2048": lambda: (usual(), 256),
    "rsa-8192-exponent-64": lambda: (self_made(8192, 64), 1024),
    "rsa-8192-exponent-8192": lambda: (self_made(8192, 8192), 1024),
    "rsa-16384-exponent-16384": lambda: (self_made(16384, 16384), 2048),
    "rsa-32768-exponent-32768": lambda: (self_made(32768, 32768), 4096),
    "dsa-16384": lambda: (dsa(16384), 2048),
    "chain-of-16": lambda: (self_made(8192, 64) * 16, 1024),
    "chain-of-100": lambda: (usual(100), 256),
    "names-1000": lambda: (padded((der.dns_names(1000),)), 256),
    "names-29000": lambda: (padded((der.dns_names(SIZE // 3),)), 256),
    "subject-250": lambda: (padded(subject=der.long_name(250)), 256),
    "subject-6000": lambda: (padded(subject=der.long_name(SIZE // 14)), 256),
    "subject-of-88000-bytes": lambda: (padded(subject=der.name("a" * SIZE)), 256),
    "extensions-6000": lambda: (padded(tuple(der.extension(f"1.2.{i}", b"") for i in range(SIZE // 14))), 256),
    "staple-rsa-32768": lambda: (stapled(32768, 32768), 256),
    "staple-rsa-8192": lambda: (stapled(8192, 64), 256),
    "staples-4": lambda: (many_staples(4), 1024),
    "staples-16": lambda: (many_staples(16), 1024),
    "borrowed": lambda: (borrowed(), 256),
}


ROOM = 15_500  # bytes that fill a hello up to what is taken
ONE = [(X25519, GROUPS["X25519"][1])]
HELLOS = {
    "hello-cipher-suites": lambda: client_hello(ONE, [X25519], suites=[0x1301] * (ROOM // 2)),
    "hello-extensions": lambda: client_hello(
        ONE, [X25519], more=b"".join(extension(0x4000 + number, b"") for number in range(ROOM // 4))),
    "hello-groups": lambda: client_hello(ONE, [X25519] + [0x2A2A] * (ROOM // 2)),
    "hello-shares": lambda: client_hello([(0x2A2A, b"a")] * (ROOM // 5) + ONE, [X25519]),
    "hello-protocols": lambda: client_hello(ONE, [X25519], protocols=ROOM // 2),
    "hello-schemes": lambda: client_hello(ONE, [X25519], more=extension(50, prefixed(2, numbers(0x0804) * (ROOM // 2)))),
    "hello-identities": lambda: client_hello(
        ONE, [X25519], more=extension(45, b"\x01\x01") + extension(41, prefixed(2, b"\0\x01a\0\0\0\0" * (ROOM // 14))
        + prefixed(2, prefixed(1, bytes(32)) * (ROOM // 70)))),
}


def retry(talk: Conversation) -> None:
    talk.send(client_hello([], [25]))
    talk.receive()
    talk.send(client_hello([GROUPS["SECP521R1"]], [25]))


def unfinished_hello(announced: int, sent: int) -> bytes:
    return (bytes([CLIENT_HELLO]) + announced.to_bytes(3, "big") + b"\x03\x03" + bytes(announced))[:sent]


def unfinished_certificate(talk: Conversation, size: int, record: int = 16_000) -> None:
    begin(talk)
    talk.send(message(CERTIFICATE, b"\0" + prefixed(3, bytes(size)))[:size], record)


def sends(make):
    return lambda talk: talk.send(make())


def presents(make):
    return lambda talk: as_client(talk, *make())


INPUTS = {
    **{f"share-{name}": sends(lambda group=group: client_hello([group], [group[0]])) for name, group in GROUPS.items()},
    "retry-SECP521R1": retry,
    **{name: sends(make) for name, make in HELLOS.items()},
    "hello-byte-by-byte": lambda talk: talk.send(client_hello(ONE, [X25519], more=extension(21, bytes(ROOM))), 1),
    "hello-of-120000-unfinished": sends(lambda: unfinished_hello(121_000, 120_000)),
    "hello-of-16000-unfinished": sends(lambda: unfinished_hello(16_000, 15_900)),
    "certificate-of-80000-unfinished": lambda talk: unfinished_certificate(talk, 80_000),
    "certificate-of-200000-unfinished": lambda talk: unfinished_certificate(talk, 200_000),
    **{f"certificate-by-{size}-unfinished": lambda talk, size=size: unfinished_certificate(talk, 60_000, size)
       for size in (40, 1000)},
    **{name: presents(make) for name, make in CHAINS.items()},
    "certificate-in-small-records": lambda talk: as_client(talk, *CHAINS["subject-of-88000-bytes"](), 1000),
}


def arrive(connection: socket.socket) -> None:
    """Waits until the other side's kernel has all that was sent."""
    left = array.array("i", [1])
    until = time.time() + 60
    while left[0] and time.time() < until:
        fcntl.ioctl(connection, termios.TIOCOUTQ, left)
        time.sleep(0.001)


def drain(connection: socket.socket, until: float) -> None:
    """Waits for the other side's close."""
    while time.time() < until:
        connection.settimeout(max(until - time.time(), 0.01))
        if not connection.recv(65536):
            return


def play(talk: Conversation, send: collections.abc.Callable[[Conversation], None], number: int, until: float) -> None:
    """Sends, then waits for the other side's close."""
    try:
        send(talk)
    finally:
        tell("bytes", talk.sent)
    arrive(talk.connection)
    tell("sent", number)
    drain(talk.connection, until)
    tell("ended", number)


def client(options: argparse.Namespace, number: int) -> None:
    end = time.time() + options.hold
    while True:
        try:
            with socket.create_connection(("127.0.0.1", options.port)) as connection:
                connection.settimeout(60)
                # Many small records are not to wait for each other's acknowledgement.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if options.rpc:
                    ask_for_tls(connection)
                talk = Conversation(connection)
                play(talk, INPUTS[options.input], number, max(end, time.time() + (0 if options.hold else 60)))
        except OSError as error:
            tell(f"lost-{type(error).__name__}-{error}".replace(" ", "-"), number)
        if time.time() + options.pause >= end:
            return
        time.sleep(options.pause)


def serve(connection: socket.socket, options: argparse.Namespace, number: int) -> None:
    with connection:
        try:
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if options.rpc:
                offer_tls(connection)
            talk = Conversation(connection)
            play(talk, lambda talk: as_server(talk, *CHAINS[options.input]()), number, time.time() + 60)
        except OSError as error:
            tell(f"lost-{type(error).__name__}-{error}".replace(" ", "-"), number)


def server(options: argparse.Namespace) -> None:
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        tell(f"listening-{listener.getsockname()[1]}", 0)
        for number in range(options.count):
            serve(listener.accept()[0], options, number + 1)


def main() -> None:
    if sys.argv[1:] == ["--list"]:
        print("\n".join([f"client {name}" for name in INPUTS if name != "borrowed"]
            + [f"server {name}" for name in CHAINS if name != "borrowed"]))
        return
    text, _, tail = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=text, epilog=tail, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("client", "server"))
    parser.add_argument("port", type=int)
    parser.add_argument("input", choices=(*INPUTS, *CHAINS))
    parser.add_argument("--certificate", default="", help="PEM, for the input borrowed")
    parser.add_argument("--rpc", action="store_true")
    parser.add_argument("--hold", type=float, default=0)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    global borrowed_from
    borrowed_from = options.certificate
    if options.side == "server":
        server(options)
        return
    threads = [threading.Thread(target=client, args=(options, number + 1)) for number in range(options.count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
