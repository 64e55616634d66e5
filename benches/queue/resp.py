"""A redis-server of one's own, and a client that needs no package."""

import os
import shutil
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """A server on a free port without persistence, gone with `close`.

    Its memory has been used before: on a virtual machine the first touch of a page costs more than a job, and a server
    that runs for days does not pay that for each.
    """

    def __init__(self):
        self.port = free_port()
        self.dir = tempfile.mkdtemp(prefix="bench-redis-")
        options = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", self.dir,
                   "--enable-debug-command", "yes"]
        self.child = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        self.client = None
        for _ in range(500):
            try:
                self.client = Client(self.port)
                self.client.call("PING")
                break
            except OSError:
                time.sleep(0.01)
        self.client.call("DEBUG", "POPULATE", 100_000, "used", 4096)
        self.client.call("FLUSHALL", "ASYNC")

    def url(self, port=None):
        return f"redis://127.0.0.1:{port or self.port}"

    def cpu(self):
        """Seconds of processor time of the server."""
        info = self.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def commands(self):
        """Commands that clients have sent; what scripts call inside is not counted."""
        calls = {}
        for name, value in self.info("commandstats").items():
            calls[name.removeprefix("cmdstat_")] = dict(part.split("=") for part in value.split(","))
        return calls

    def info(self, section):
        lines = self.client.call("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def close(self):
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)

    def call(self, *parts):
        return self.pipeline([parts])[0]

    def pipeline(self, calls):
        self.socket.sendall(b"".join(encode(call) for call in calls))
        return [self.read() for _ in calls]

    def read(self):
        line = self.file.readline()
        if not line:
            raise OSError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest


def encode(parts):
    out = [b"*%d\r\n" % len(parts)]
    for part in parts:
        part = part if isinstance(part, bytes) else str(part).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(part), part))
    return b"".join(out)


def cpu_of(pid):
    """Seconds of processor time of a process."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(pid):
    """Resident memory of a process, in MiB."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
