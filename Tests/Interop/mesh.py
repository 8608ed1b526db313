"""Real nodes for tests: processes that are started, watched, frozen, killed, and always ended.

    with Mesh(5) as mesh:                 # five nodes, joined through the first, ready
        mesh[3].client().publish("a", "b")
        mesh[2].kill()

The program is `SMALLWORLD` from the environment, or this package's release build. With
`INTEROP_SERVER=redis` the nodes of a mesh are one and the same redis-server: what a test expects
of a cluster must then hold trivially, which tests the test.

Every wait has a deadline; every process is ended by its id, and dies with the tests (PDEATHSIG).
"""
import atexit
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import redis

import namespaces
import resp
from processes import die_with_parent, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BINARY = os.path.abspath(
    os.environ.get("SMALLWORLD") or os.path.join(ROOT, ".build", "release", "smallworld"))
IS_REDIS = os.environ.get("INTEROP_SERVER") == "redis"

#: What has been measured, for the summary after the tests: (what, value).
notes = []


def note(what, value):
    """Keeps a measurement for the summary, seconds as seconds."""
    if isinstance(value, float):
        value = "%.3f s" % value
    notes.append((what, value))


def eventually(within, check, *arguments):
    """Calls `check` until it neither raises AssertionError nor returns False; the seconds it took.

    After `within` seconds the last failure is raised, so that it tells what was wrong.
    """
    start = time.monotonic()
    while True:
        failure = None
        try:
            if check(*arguments) is not False:
                return time.monotonic() - start
        except (AssertionError, resp.Closed, redis.ConnectionError, OSError) as error:
            failure = error
        elapsed = time.monotonic() - start
        if elapsed > within:
            if failure is not None:
                raise AssertionError(
                    "not so within %.1f s: %s" % (within, failure)) from failure
            raise AssertionError("not so within %.1f s: %r" % (within, check))
        time.sleep(min(0.02, within / 20))


def steadily(seconds, check, *arguments):
    """Calls `check` for so long; it must hold each time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert check(*arguments) is not False
        time.sleep(0.02)


def text(address):
    return "%s:%d" % address


class Metrics(dict):
    """Prometheus text: `name{labels}` → value."""

    def __init__(self, body):
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                self[name] = float(value)

    def total(self, name, **labels):
        """The sum over all series of this name that carry these labels; KeyError without any."""
        wanted = ['%s="%s"' % item for item in labels.items()]
        found = [value for series, value in self.items()
                 if series.partition("{")[0] == name and all(label in series for label in wanted)]
        if not found:
            raise KeyError("%s%s is not in /metrics" % (name, wanted or ""))
        return sum(found)


class NamespacedConnection(redis.Connection):
    """redis-py's own connection, made inside a network namespace."""

    def __init__(self, *arguments, namespace=None, **options):
        self.namespace = namespace
        super().__init__(*arguments, **options)

    def _connect(self):
        with namespaces.entered(self.namespace):
            return super()._connect()


class Node:
    """One node's process and the addresses that it listens on."""

    def __init__(self, mesh, index, seeds=(), listen=None, extra=(), namespace=None):
        self.owner = mesh
        self.index = index
        self.seeds = list(seeds)
        self.asked = {"mesh": ("127.0.0.1", 0), "redis": ("127.0.0.1", 0), "http": ("127.0.0.1", 0)}
        self.asked.update(listen or {})
        self.extra = list(extra)
        self.namespace = namespace
        #: Words before the command (`env`, `prlimit`), and where standard error goes, if not to
        #: the log.
        self.prefix = []
        self.errors = None
        self.process = None
        self.addresses = {}
        self.log = os.path.join(mesh.folder, "node-%d.log" % index)
        self.ended_by_us = False
        self.frozen = False
        self.clients = []

    def __repr__(self):
        return "node %d" % self.index

    # ---- life

    def command(self):
        words = [*self.prefix, BINARY, "node", "--name", "node-%d" % self.index]
        for name, address in self.asked.items():
            path = isinstance(address, str)
            words += ["--" + name, "unix:" + address if path else text(address) if address else "off"]
        for seed in self.seeds:
            words += ["--seed", text(seed)]
        words += self.extra
        if self.namespace:
            words = ["ip", "netns", "exec", self.namespace, *words]
        return words

    def start(self):
        """Starts the process; `wait_listening` and `wait_ready` say how far it is."""
        assert self.process is None or self.process.poll() is not None
        self.ended_by_us = False
        self.addresses = {}
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log if self.errors is None else self.errors,
                preexec_fn=die_with_parent)
        self.started = time.monotonic()
        return self

    def printed(self):
        with open(self.log, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def wait_listening(self, within=10.0):
        """Waits for the printed lines that tell the ports."""
        wanted = {name for name, address in self.asked.items() if address}
        self.addresses.update((name, address) for name, address in self.asked.items()
                              if isinstance(address, str))

        def complete():
            assert self.process.poll() is None, "%r ended: %s" % (self, self.tail())
            for name, host, port in re.findall(
                    r"^(mesh|redis|http) +(\S+):(\d+)\s*$", self.printed(), re.MULTILINE):
                self.addresses[name] = (host.strip("[]"), int(port))
            assert wanted <= set(self.addresses), "%r has printed only %s" % (
                self, sorted(self.addresses))

        eventually(within, complete)
        return self

    def wait_ready(self, within=10.0):
        """Waits until the node has printed `ready` and /readyz agrees; seconds since its start."""
        self.wait_listening(within)

        def ready():
            assert self.process.poll() is None, "%r ended: %s" % (self, self.tail())
            assert re.search(r"^ready\b", self.printed(), re.MULTILINE), \
                "%r has not printed ready: %s" % (self, self.tail())

        eventually(max(within - (time.monotonic() - self.started), 0.1), ready)
        took = time.monotonic() - self.started
        if self.asked["http"]:
            assert self.http("/readyz")[0] == 200, "%r printed ready, /readyz disagrees" % self
        return took

    def signal(self, number):
        """Signals this very process; nothing when it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.ended_by_us = True
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def freeze(self):
        self.frozen = True
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.frozen = False
        self.signal(signal.SIGCONT)

    def terminate(self, within=10.0):
        """SIGTERM; the exit status."""
        self.ended_by_us = True
        self.signal(signal.SIGTERM)
        return self.process.wait(within)

    def restart(self):
        """Starts again at the same addresses."""
        for name, address in self.addresses.items():
            self.asked[name] = address
        return self.start()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    # ---- talk

    @property
    def mesh(self):
        return self.addresses["mesh"]

    def connect(self, port, timeout=10.0):
        """A bare socket to one of the node's listeners."""
        with namespaces.entered(self.namespace):
            return socket.create_connection(self.addresses[port], timeout)

    def client(self, protocol=3, **options):
        """redis-py with its defaults but for a deadline; closed with the mesh."""
        options.setdefault("socket_timeout", 10)
        options.setdefault("socket_connect_timeout", 10)
        if isinstance(self.addresses["redis"], str):
            client = redis.Redis(
                unix_socket_path=self.addresses["redis"], protocol=protocol, **options)
            self.clients.append(client.close)
            return client
        host, port = self.addresses["redis"]
        if self.namespace:
            pool = redis.ConnectionPool(
                connection_class=NamespacedConnection, namespace=self.namespace, host=host,
                port=port, protocol=protocol, **options)
            client = redis.Redis(connection_pool=pool)
            self.clients.append(pool.disconnect)
        else:
            client = redis.Redis(host=host, port=port, protocol=protocol, **options)
        self.clients.append(client.close)
        return client

    def wire(self, protocol=2, timeout=10.0):
        """A connection that hides nothing; closed with the mesh."""
        with namespaces.entered(self.namespace):
            connection = resp.Connection(self.addresses["redis"], protocol, timeout)
        self.clients.append(connection.close)
        return connection

    def call(self, *words, timeout=10.0):
        """One command on a connection that is kept for this."""
        kept = getattr(self, "kept", None)
        if kept is None or kept[0] is not self.process:
            self.kept = kept = (self.process, self.wire(3, timeout))
        try:
            return kept[1].call(*words, timeout=timeout)
        except (resp.Closed, TimeoutError, OSError):
            self.kept = None
            raise

    def hang_up(self):
        """Closes the connection that `call` keeps."""
        if getattr(self, "kept", None):
            self.kept[1].close()
            self.kept = None

    def http(self, path, timeout=10.0):
        """(status, body)"""
        host, port = self.addresses["http"]
        with namespaces.entered(self.namespace):
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
            connection.connect()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self):
        status, body = self.http("/metrics")
        assert status == 200, (status, body)
        return Metrics(body)

    def metric(self, name, **labels):
        return self.metrics().total(name, **labels)

    def rows(self, command):
        """MESH.MEMBERS or MESH.LINKS: a dictionary of text per row."""
        reply = self.call(command)
        assert isinstance(reply, list) and not isinstance(reply, resp.Failure), reply
        return [{row[i].decode(): plain(row[i + 1]) for i in range(0, len(row), 2)}
                for row in reply]

    def members(self, status="alive"):
        """The ids of the members that stand so, sorted. A suspect is a member until it is dead."""
        return sorted(row["id"] for row in self.rows("MESH.MEMBERS")
                      if row["status"] == status)

    def status_of(self, node):
        """What this node thinks of the other: alive, leaving, suspect, dead, left; None: unknown.

        Several lives of one node may be known; the best status counts."""
        known = [row["status"] for row in self.rows("MESH.MEMBERS")
                 if row["name"] == "node-%d" % node.index]
        return next((s for s in ("alive", "leaving", "suspect", "left", "dead") if s in known),
                    None)

    def client_list(self):
        """CLIENT LIST as dictionaries."""
        text = self.call("CLIENT", "LIST").decode()
        return [dict(field.split("=", 1) for field in line.split(" "))
                for line in text.splitlines()]

    def status(self):
        """MESH.STATUS as a dictionary."""
        reply = self.call("MESH.STATUS")
        assert isinstance(reply, list), reply
        return {reply[i].decode(): plain(reply[i + 1]) for i in range(0, len(reply), 2)}

    @property
    def id(self):
        """Its position on the ring, sixteen hexadecimal digits; new with each start."""
        if getattr(self, "known_id", (None,))[0] is not self.process:
            self.known_id = (self.process, self.status()["id"])
        return self.known_id[1]

    # ---- inspection

    def resident(self):
        """Resident memory in bytes."""
        with open("/proc/%d/statm" % self.process.pid) as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def tail(self, lines=15):
        try:
            with open(self.log, errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError:
            return "(no log)"

    def close_clients(self):
        for close in self.clients:
            with contextlib.suppress(Exception):
                close()
        self.clients = []


def plain(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class RedisNode(Node):
    """A view of the one redis-server that stands for all nodes when the tests are tested."""

    def start(self):
        server = self.owner.redis_server()
        self.process = server["process"]
        self.addresses = {"redis": server["address"], "mesh": server["address"]}
        self.started = time.monotonic()
        return self

    def wait_listening(self, within=10.0):
        return self

    def wait_ready(self, within=10.0):
        return 0.0

    def kill(self):
        raise AssertionError("needs a mesh, not one redis-server")

    freeze = terminate = kill


class Mesh:
    """Some nodes. A context manager; whatever happens, its processes end."""

    running = []

    def __init__(self, count=0, extra=(), within=15.0, network=None):
        self.folder = tempfile.mkdtemp(prefix="smallworld-interop-")
        self.nodes = []
        self.extra = list(extra)
        self.network = network
        self.server = None
        self.stopped = False
        Mesh.running.append(self)
        try:
            if not IS_REDIS and not os.access(BINARY, os.X_OK):
                raise RuntimeError("%s is not there: swift build -c release" % BINARY)
            for index in range(count):
                node = self.add(seeds=[self.nodes[0].mesh] if index else [])
                node.start().wait_listening(within)
            self.wait_ready(within)
            if count:
                self.wait_members(within)
        except BaseException:
            self.report()
            self.stop(check=False)
            raise

    def add(self, seeds=(), listen=None, extra=()):
        """A further node, not yet started. In `listen`, None for a listener means off, and a text is
        the path of a Unix socket."""
        index = len(self.nodes)
        listen = dict(listen or {})
        namespace = None
        extra = [*self.extra, *extra]
        if self.network:
            namespace = self.network.name(index)
            listen = {"mesh": (self.network.address(index), 7400), "redis": ("127.0.0.1", 7379),
                      "http": ("127.0.0.1", 7480), **listen}
            extra.append("--insecure")
        kind = RedisNode if IS_REDIS else Node
        node = kind(self, index, seeds, listen, extra, namespace)
        self.nodes.append(node)
        return node

    def __getitem__(self, index):
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    def alive(self):
        return [node for node in self.nodes if node.is_running() and not node.frozen]

    def wait_ready(self, within=15.0):
        """Waits for all; the longest time from a node's start to its readiness."""
        deadline = time.monotonic() + within
        return max((node.wait_ready(max(deadline - time.monotonic(), 0.1))
                    for node in self.nodes if node.is_running()), default=0.0)

    def wait_links_settled(self, within=15, quiet=1.0):
        """Waits until nobody's links have changed for `quiet` seconds."""
        state = {"links": None, "since": time.monotonic()}

        def settled():
            links = [sorted(row["peer"] for row in node.rows("MESH.LINKS"))
                     for node in self.alive()]
            if links != state["links"]:
                state.update(links=links, since=time.monotonic())
            assert time.monotonic() - state["since"] > quiet, "links still change"

        return eventually(within, settled)

    def wait_members(self, within=10.0):
        """Waits until each running node names the same members, as many as are running."""
        if IS_REDIS:
            return 0.0

        def agree():
            alive = self.alive()
            lists = {node.index: node.members() for node in alive}
            first = lists[alive[0].index]
            assert len(first) == len(alive), "%d members, %d run" % (len(first), len(alive))
            for index, members in lists.items():
                assert members == first, "node %d: %s, others: %s" % (index, members, first)

        return eventually(within, agree)

    def redis_server(self):
        """The redis-server that stands for all nodes, started at first use."""
        if self.server is None:
            port = free_port()
            log = open(os.path.join(self.folder, "redis-server.log"), "wb")
            process = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                 "--appendonly", "no", "--dir", self.folder],
                stdout=log, stderr=log, preexec_fn=die_with_parent)
            log.close()
            self.server = {"process": process, "address": ("127.0.0.1", port)}
            eventually(10, lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)
        return self.server

    def report(self, lines=15):
        """The last lines of each node's log, fewer when there are many nodes."""
        lines = lines if len(self.nodes) <= 8 else 3
        parts = []
        for node in self.nodes:
            status = None if node.process is None else node.process.poll()
            parts.append("---- %r (pid %s, %s)\n%s" % (
                node, node.process.pid if node.process else "-",
                "runs" if status is None else "ended with status %s" % status, node.tail(lines)))
        return "\n".join(parts)

    def stop(self, check=True):
        """Ends every process. With `check`: none may have ended by itself before."""
        if self.stopped:
            return
        self.stopped = True
        Mesh.running.remove(self)
        fallen = [(node, node.process.poll()) for node in self.nodes
                  if node.process is not None and not node.ended_by_us
                  and node.process.poll() is not None]
        report = self.report()
        processes = [node.process for node in self.nodes if node.process is not None]
        if self.server:
            processes.append(self.server["process"])
        for node in self.nodes:
            node.close_clients()
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            process.wait(10)
        if not os.environ.get("INTEROP_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        if check and fallen:
            raise AssertionError("ended by themselves: %s\n%s" % (fallen, report))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            reports.append(self.report())
        self.stop(check=kind is None)


def receivers(publisher, local):
    """What PUBLISH on the node `publisher` answers when node i has `local[i]` receivers: its own,
    plus one for each other node that has any. One redis-server has them all."""
    if IS_REDIS:
        return sum(local)
    return local[publisher] + sum(1 for node, count in enumerate(local)
                                  if node != publisher and count > 0)


#: Logs of meshes whose block ended with an exception, for the failure report.
reports = []


@atexit.register
def stop_all():
    for mesh in list(Mesh.running):
        mesh.stop(check=False)


def subscribed(wire, kind, *names):
    """Subscribes on a bare connection and reads the confirmations."""
    wire.send(resp.encode(kind, *names))
    for name in names:
        confirmation = wire.read()
        assert confirmation[:2] == [kind.lower().encode(), name if isinstance(name, bytes)
                                    else name.encode()], confirmation
    return wire


def deliver_everywhere(mesh):
    """From each node to each: one message, once."""
    listeners = [subscribed(node.wire(3), "SUBSCRIBE", "everywhere") for node in mesh.alive()]
    count = len(listeners)
    eventually(5, lambda: all(node.call("PUBSUB", "NUMSUB", "everywhere")
                              == [b"everywhere", count] for node in mesh.alive()))
    for node in mesh.alive():
        assert node.call("PUBLISH", "everywhere", "from %d" % node.index) == count
    expected = sorted(b"from %d" % node.index for node in mesh.alive())
    for wire in listeners:
        assert sorted(wire.read()[2] for _ in range(count)) == expected
        assert wire.waiting(0.05) == []
        wire.close()
    eventually(5, lambda: all(node.call("PUBSUB", "NUMSUB", "everywhere")
                              == [b"everywhere", 0] for node in mesh.alive()))


class Subscriber:
    """A redis-py subscriber that a thread reads from. `messages` grows: (type, pattern, channel,
    data), in the order of arrival."""

    def __init__(self, node, protocol, channels=(), patterns=(), shards=()):
        self.node = node
        self.protocol = protocol
        self.client = node.client(protocol)
        self.pubsub = self.client.pubsub()
        self.messages = []
        self.failure = None
        self.ended = threading.Event()
        self.confirmed = 0
        if channels:
            self.pubsub.subscribe(*channels)
        if patterns:
            self.pubsub.psubscribe(*patterns)
        if shards:
            self.pubsub.ssubscribe(*shards)
        self.wanted = len(channels) + len(patterns) + len(shards)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.ended.is_set():
                message = self.pubsub.get_message(timeout=0.05)
                if message is None:
                    continue
                if message["type"].endswith("message"):
                    self.messages.append(
                        (message["type"], message["pattern"], message["channel"], message["data"]))
                elif "unsubscribe" not in message["type"]:
                    self.confirmed += 1
        except Exception as error:  # Whatever it is, the test that waits for messages must see it.
            if not self.ended.is_set():
                self.failure = error

    def wait_confirmed(self, within=10.0):
        eventually(within, lambda: self.confirmed >= self.wanted or self.check())
        return self

    def check(self):
        if self.failure is not None:
            raise RuntimeError("the subscriber on %r failed: %r" % (self.node, self.failure))
        return False

    def wait_count(self, count, within=10.0):
        """Waits for so many messages."""
        def arrived():
            self.check()
            assert len(self.messages) >= count, "%d of %d messages on %r (RESP%d)" % (
                len(self.messages), count, self.node, self.protocol)
        return eventually(within, arrived)

    def close(self):
        self.ended.set()
        self.thread.join(5)
        with contextlib.suppress(Exception):
            self.pubsub.close()
            self.client.close()

    def __enter__(self):
        return self.wait_confirmed()

    def __exit__(self, *_):
        self.close()
