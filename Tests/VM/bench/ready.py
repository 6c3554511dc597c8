"""ready.py PROGRAM ARG...: starts a daemon, times READY=1 and a first pair of handshakes by the module tlsload, ends it."""

import os
import signal
import socket
import subprocess
import sys
import time

name = os.path.join(os.environ["RIG_WORK"], "notify")
if os.path.exists(name):
    os.unlink(name)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(name)
listener.settimeout(20)
begin = time.monotonic()
daemon = subprocess.Popen(sys.argv[1:], env={**os.environ, "NOTIFY_SOCKET": name}, stdin=subprocess.DEVNULL)
while b"READY=1" not in listener.recv(4096):
    pass
ready = time.monotonic()
with open("/proc/tlsload", "w") as load:
    load.write("run 1 1 x509")
served = time.monotonic()
with open("/proc/tlsload") as load:
    outcome = load.read().strip()
print(f"figure start ready_us={(ready - begin) * 1e6:.0f} served_us={(served - begin) * 1e6:.0f} {outcome}", flush=True)
daemon.send_signal(signal.SIGTERM)
daemon.wait()
