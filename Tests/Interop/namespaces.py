"""Networks that a test can cut: namespaces joined by bridges, made and removed by the test itself.

    host0 ── veth ── bridge A      cut([0, 1], [2]):   bridge A: host0, host1
    host1 ── veth ── bridge A                          bridge B: host2
    host2 ── veth ── bridge A      heal():             bridge A: all

A host's address is 10.77.0.(index + 1). Nothing here is reachable from outside.
"""
import atexit
import contextlib
import ctypes
import os
import shutil
import subprocess

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def requirements():
    """What is missing for namespaces, as a sentence; None when nothing is."""
    if os.geteuid() != 0:
        return "network namespaces need root (run the tests as root, as CI does)"
    if not shutil.which("ip"):
        return "network namespaces need iproute2 (apt-get install iproute2)"
    return None


def run(*words, check=True):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, timeout=20)
    if check and done.returncode != 0:
        raise RuntimeError("ip %s: %s" % (" ".join(map(str, words)), done.stderr.strip()))
    return done


@contextlib.contextmanager
def entered(name):
    """This thread's new sockets belong to that namespace until the end of the block."""
    if name is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open("/var/run/netns/" + name, os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + name)
        try:
            yield
        finally:
            if libc.setns(home, CLONE_NEWNET) != 0:
                os._exit(70)  # The thread would go on in the wrong network: nothing is sound then.
    finally:
        os.close(there)
        os.close(home)


class Network:
    """`count` hosts on up to `count` bridges. A context manager; also removed at exit."""

    def __init__(self, count):
        missing = requirements()
        if missing:
            raise RuntimeError(missing)
        self.count = count
        self.tag = "sw%d" % os.getpid()
        self.bridges = set()
        self.removed = False
        atexit.register(self.remove)
        try:
            for index in range(count):
                name = self.name(index)
                run("netns", "add", name)
                run("link", "add", self.veth(index), "type", "veth", "peer", "name", "eth0",
                    "netns", name)
                run("-n", name, "addr", "add", self.address(index) + "/24", "dev", "eth0")
                run("-n", name, "link", "set", "lo", "up")
                run("-n", name, "link", "set", "eth0", "up")
            self.heal()
        except BaseException:
            self.remove()
            raise

    def name(self, index):
        return "%s-%d" % (self.tag, index)

    def veth(self, index):
        return "%s-v%d" % (self.tag, index)

    def bridge(self, group):
        name = "%s-b%d" % (self.tag, group)
        if group not in self.bridges:
            run("link", "add", name, "type", "bridge", "forward_delay", 0)
            run("link", "set", name, "up")
            self.bridges.add(group)
        return name

    def address(self, index):
        return "10.77.0.%d" % (index + 1)

    def cut(self, *groups):
        """Parts the hosts: each group talks among itself alone. Connections go silent, no reset."""
        assert sorted(host for group in groups for host in group) == list(range(self.count))
        for number, group in enumerate(groups):
            bridge = self.bridge(number)
            for host in group:
                run("link", "set", self.veth(host), "master", bridge, "up")

    def heal(self):
        """One network again."""
        self.cut(list(range(self.count)))

    def remove(self):
        if self.removed:
            return
        self.removed = True
        for index in range(self.count):
            run("link", "del", self.veth(index), check=False)
            run("netns", "del", self.name(index), check=False)
        for group in self.bridges:
            run("link", "del", "%s-b%d" % (self.tag, group), check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
