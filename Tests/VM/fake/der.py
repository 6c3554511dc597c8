"""DER of certificates and OCSP responses that nobody trusts, without an ASN.1 library (X.690, RFC 5280, RFC 6960)."""

import hashlib
import os
import random

RSA_SHA256 = "1.2.840.113549.1.1.11"


def element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts: bytes) -> bytes:
    return element(0x30, b"".join(parts))


def integer(value: int) -> bytes:
    return element(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def identifier(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    content = bytes([40 * first + second])
    for value in rest:
        octets = [value & 0x7F]
        while value := value >> 7:
            octets.append(0x80 | value & 0x7F)
        content += bytes(reversed(octets))
    return element(6, content)


def bits(content: bytes) -> bytes:
    return element(3, b"\0" + content)


def long_name(count: int, text: str = "a") -> bytes:
    """A distinguished name of `count` common names."""
    return sequence(*[element(0x31, sequence(identifier("2.5.4.3"), element(12, text.encode())))] * count)


def name(text: str) -> bytes:
    return long_name(1, text)


def extension(kind: str, content: bytes, critical: bool = False) -> bytes:
    return sequence(identifier(kind), *([element(1, b"\xff")] if critical else []), element(4, content))


def dns_names(count: int) -> bytes:
    return extension("2.5.29.17", sequence(*[element(0x82, b"a")] * count))


AUTHORITY = extension("2.5.29.19", sequence(element(1, b"\xff")), critical=True)
OCSP_SIGNING = extension("2.5.29.37", sequence(identifier("1.3.6.1.5.5.7.3.9")))


def random_modulus(size: int) -> int:
    return int.from_bytes(os.urandom(size // 8), "big") | 1 | 1 << size - 1


def random_exponent(size: int) -> int:
    return 65537 if size == 17 else random.getrandbits(size) | 1 | 1 << size - 1


def rsa_key(modulus: int, exponent: int) -> bytes:
    kind = sequence(identifier("1.2.840.113549.1.1.1"), element(5, b""))
    return sequence(kind, bits(sequence(integer(modulus), integer(exponent))))


def dsa_key(p: int, q: int) -> bytes:
    numbers = [random_modulus(p), random_modulus(q), random.getrandbits(p - 1)]
    return sequence(
        sequence(identifier("1.2.840.10040.4.1"), sequence(*map(integer, numbers))), bits(integer(random.getrandbits(p - 1)))
    )


def known_prime() -> int:
    """The prime of FFDHE2048 (RFC 7919 appendix A.1)."""
    scale, e, term = 1 << 2000, 0, 1 << 2000
    for divisor in range(1, 400):
        e += term
        term //= divisor
    return 2**2048 - 2**1984 + ((e * 2**1918 // scale) + 560316) * 2**64 - 1


class Signer:
    """A true RSA key. Its modulus is one prime: it keeps nothing secret, and need not be searched for."""

    def __init__(self) -> None:
        self.modulus = known_prime()
        self.exponent = pow(65537, -1, self.modulus - 1)
        self.size = 256
        self.public = rsa_key(self.modulus, 65537)

    def sign(self, data: bytes) -> bytes:
        """PKCS #1 version 1.5 with SHA-256 (RFC 8017 section 9.2)."""
        digest = sequence(
            sequence(identifier("2.16.840.1.101.3.4.2.1"), element(5, b"")), element(4, hashlib.sha256(data).digest())
        )
        padded = b"\0\x01" + b"\xff" * (self.size - len(digest) - 3) + b"\0" + digest
        return pow(int.from_bytes(padded, "big"), self.exponent, self.modulus).to_bytes(self.size, "big")


def algorithm() -> bytes:
    return sequence(identifier(RSA_SHA256), element(5, b""))


def certificate(
    key: bytes, subject: bytes = name("stranger"), issuer: bytes = name("stranger"), extensions: tuple[bytes, ...] = (),
    signer: Signer | None = None,
) -> bytes:
    """A certificate, valid until 2049; its signature is no one's unless there is a signer."""
    validity = sequence(element(23, b"200101000000Z"), element(23, b"491231235959Z"))
    body = sequence(
        element(0xA0, integer(2)), integer(SERIAL), algorithm(), issuer, validity, subject, key,
        *([element(0xA3, sequence(*extensions))] if extensions else []),
    )
    return sequence(body, algorithm(), bits(signer.sign(body) if signer else os.urandom(256)))


SERIAL = 1 << 60


def key_bits(key: bytes) -> bytes:
    """What a SubjectPublicKeyInfo's BIT STRING holds."""
    start = key.index(b"\x03\x82", 4)
    return key[start + 5 :]


def ocsp_response(issuer: bytes, issuer_key: bytes, responder: str, signer: bytes, size: int) -> bytes:
    """A good response about SERIAL of an issuer, with a signature of `size` bytes that is no one's."""
    digest = sequence(identifier("1.3.14.3.2.26"), element(5, b""))
    about = sequence(
        digest, element(4, hashlib.sha1(issuer).digest()), element(4, hashlib.sha1(key_bits(issuer_key)).digest()),
        integer(SERIAL),
    )
    now = element(24, b"20250101000000Z")
    single = sequence(about, element(0x80, b""), now)
    data = sequence(element(0xA1, name(responder)), now, sequence(single))
    basic = sequence(
        data, algorithm(), bits(b"\x01" + os.urandom(size - 1)), *([element(0xA0, sequence(signer))] if signer else [])
    )
    return sequence(
        element(10, b"\0"),
        element(0xA0, sequence(identifier("1.3.6.1.5.5.7.48.1.1"), element(4, basic))),
    )
