"""rival.py: joins the multicast group of TLS handshakes, as any process may, says "joined", and does nothing more."""

import socket
import struct
import time

GENERIC, GETFAMILY = 16, 3
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1


def attributes(data):
    while data:
        length, kind = struct.unpack("HH", data[:4])
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, GENERIC)
listener.bind((0, 0))
name = b"handshake\0"
attribute = struct.pack("HH", 4 + len(name), 2) + name + b"\0\0"
header = struct.pack("IHHII", 20 + len(attribute), GENERIC, 1, 1, 0)
listener.send(header + struct.pack("BBH", GETFAMILY, 1, 0) + attribute)
for kind, value in attributes(listener.recv(65536)[20:]):
    if kind != 7:
        continue
    for _, group in attributes(value):
        parts = dict(attributes(group))
        if parts[1] == b"tlshd\0":
            listener.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.unpack("I", parts[2])[0])
            print("joined", flush=True)
time.sleep(600)
