"""What happens to machines: clocks that jump, pauses, full disks, no descriptors, no memory.

Each is handled as an operator would wish.
"""
import contextlib
import errno
import fcntl
import itertools
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

import mesh as harness
import resp
from mesh import Mesh, deliver_everywhere, eventually, free_port, note, subscribed, text
from processes import compiled
from traffic import Traffic

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(120)]
DAY = 86_400_000


class Faults:
    """What is wrong with the machine of one node; see faults.c."""

    def __init__(self, folder, index):
        self.path = os.path.join(folder, "faults-%d" % index)
        self.wall_offset = 0
        self.sends = self.accepts = (0, 0)
        with open(self.path, "wb") as file:
            file.write(bytes(24))

    def set(self, **changes):
        """`wall_offset` in milliseconds; `sends`, `accepts`: (failing of 100, errno)."""
        for name, value in changes.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        with open(self.path, "r+b") as file:
            file.write(struct.pack("<qiiii", self.wall_offset, *self.sends, *self.accepts))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """faults.c, compiled."""
    return compiled(os.path.join(harness.HERE, "faults.c"), str(tmp_path_factory.mktemp("faults")))


@contextlib.contextmanager
def spoilable(library, count, extra=()):
    """A mesh whose nodes' machines can be spoilt: (mesh, [Faults])."""
    with Mesh(extra=extra) as mesh:
        faults = []
        for index in range(count):
            node = mesh.add(seeds=[mesh[0].mesh] if index else [])
            faults.append(Faults(mesh.folder, index))
            node.prefix = ["env", "LD_PRELOAD=" + library, "FAULTS=" + faults[-1].path]
            node.start().wait_listening()
        mesh.wait_ready()
        mesh.wait_members()
        yield mesh, faults


def total(mesh, name):
    return sum(node.metric(name) for node in mesh.alive())


def is_calm(node, seconds=1.0):
    """The node does not spin: it takes less than a third of a processor for so long."""
    before = node.cpu_seconds()
    time.sleep(seconds)
    used = node.cpu_seconds() - before
    assert used < seconds / 3, "%.2f s of CPU in %.1f s" % (used, seconds)


def answers(node, *words):
    """A new connection is served."""
    wire = node.wire(2)
    try:
        return wire.call(*words)
    finally:
        wire.close()


# ---- clocks


def test_a_wall_clock_that_jumps_harms_nobody(library):
    with spoilable(library, 5, ["--log-level", "debug"]) as (mesh, faults):
        with Traffic(mesh) as traffic:
            traffic.go_on(0.5)
            for offsets in ([0, DAY, 0, 0, 0], [0, -DAY, 3 * DAY, 0, 0], [-9 * DAY] * 5,
                            [0, 1500, -1500, 30_000, -30_000], [0] * 5):
                for fault, offset in zip(faults, offsets):
                    fault.set(wall_offset=offset)
                traffic.go_on(1.0)
            # The clock did jump: the log tells the time of day.
            faults[3].set(wall_offset=400 * DAY)
            bad = mesh[3].connect("mesh")
            bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
            year = str(time.gmtime(time.time() + 400 * 86_400).tm_year)
            eventually(5, lambda: re.search(
                r"^%s-\S+ warning misbehaved" % year, mesh[3].printed(), re.MULTILINE) is not None)
            bad.close()
            traffic.go_on(0.5)
            traffic.finish()
        traffic.check()
        assert total(mesh, "smallworld_suspicions_total") == 0
        assert total(mesh, "smallworld_deaths_total") == 0
        deliver_everywhere(mesh)


@pytest.mark.turn
@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forward"])
def test_a_node_restarted_with_another_wall_clock_is_a_new_one(library, jump):
    """Incarnations count from the wall clock, but each life has a new id: a clock that was set back
    cannot make a node older than its former self."""
    with spoilable(library, 5) as (mesh, faults):
        node = mesh[2]
        others = [other for other in mesh if other is not node]
        node.seeds = [others[0].mesh]
        for round in range(2):
            former = node.id
            node.hang_up()
            node.kill()
            faults[2].set(wall_offset=jump * (round + 1))
            node.restart().wait_ready(10)
            assert node.id != former
            mesh.wait_members(10)
            for other in mesh:
                assert former not in other.members() + other.members("suspect")
                assert other.status_of(node) == "alive"
            deliver_everywhere(mesh)
        # What it says of itself still counts: it is suspected, and refutes, like any other.
        refuted = node.metric("smallworld_refutations_total")
        node.freeze()
        eventually(10, lambda: all(other.status_of(node) != "alive" for other in others))
        node.thaw()
        eventually(10, lambda: node.metric("smallworld_refutations_total") > refuted)
        mesh.wait_members(10)
        node.hang_up()
        node.kill()
        eventually(5, lambda: all(len(other.members()) == 4 for other in others))


# ---- pauses


def everybody(mesh, number):
    for node in mesh:
        node.signal(number)


@pytest.mark.turn
@pytest.mark.parametrize("count,extra", [(5, []), (12, ["--degree", "6"])],
                         ids=["five", "twelve sparse"])
def test_when_the_whole_machine_was_paused_nobody_is_dead_on_waking(count, extra):
    with Mesh(count, extra) as mesh:
        # Links of a sparse mesh still move when all are ready.
        time.sleep(1.5)
        wires = [subscribed(node.wire(3), "SUBSCRIBE", "awake") for node in mesh]
        eventually(10, lambda: all(node.call("PUBSUB", "NUMSUB", "awake")[1] == count
                                   for node in mesh))
        deaths = total(mesh, "smallworld_deaths_total")
        for pause in (2.0, 7.0):
            everybody(mesh, signal.SIGSTOP)
            time.sleep(pause)
            everybody(mesh, signal.SIGCONT)
            # Whoever was thought dead would be dead by then: after 4 s at most.
            time.sleep(5)
            assert total(mesh, "smallworld_deaths_total") == deaths
            assert all(len(node.members()) == count for node in mesh)
        # Connections of before the pause still work, and nobody has lost a subscription.
        assert mesh[0].call("PUBLISH", "awake", "x") == count
        for wire in wires:
            assert wire.read(5)[2] == b"x"


def test_a_pause_of_all_gives_a_suspect_its_full_time(library):
    """One node stands still, is suspected, and then all do: when they wake, its time to refute has
    run out by the clock, while nobody could hear it."""
    with Mesh(5) as mesh:
        suspect = mesh[2]
        others = [node for node in mesh if node is not suspect]
        refuted = suspect.metric("smallworld_refutations_total")
        suspect.freeze()
        eventually(5, lambda: all(node.status_of(suspect) == "suspect" for node in others))
        everybody(mesh, signal.SIGSTOP)
        time.sleep(5)
        # It wakes last, as the one that is slowest.
        for node in others:
            node.signal(signal.SIGCONT)
        time.sleep(0.3)
        suspect.thaw()
        eventually(5, lambda: suspect.metric("smallworld_refutations_total") > refuted)
        mesh.wait_members(5)
        assert total(mesh, "smallworld_deaths_total") == 0
        deliver_everywhere(mesh)


# ---- logs


STRAYS = itertools.count()


def misbehave(node, times):
    """Each time costs the node a warning in its log: those of one host would be gathered. 60 in ten seconds at most."""
    for _ in range(times):
        host = "127.77.%d.%d" % divmod(next(STRAYS), 250)
        connection = socket.create_connection(node.addresses["mesh"], 10, source_address=(host, 0))
        with contextlib.suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            connection.recv(100)
        connection.close()


def test_a_full_disk_under_the_log_stops_nothing():
    with Mesh(3) as mesh:
        node = mesh.add(seeds=[mesh[0].mesh], extra=["--log-level", "debug"])
        with open("/dev/full", "wb") as full:
            node.errors = full
            node.start().wait_ready()
        mesh.wait_members()
        misbehave(node, 30)
        lost = node.metric("smallworld_log_lines_lost_total")
        assert lost >= 30
        is_calm(node)
        deliver_everywhere(mesh)
        assert node.terminate() == 0


def test_a_full_disk_under_everything_that_is_printed_stops_nothing():
    with Mesh(1) as mesh:
        listen = {name: ("127.0.0.1", free_port()) for name in ("mesh", "redis", "http")}
        node = mesh.add(seeds=[mesh[0].mesh], listen=listen)
        node.addresses = listen
        with open("/dev/full", "wb") as full:
            node.process = subprocess.Popen(
                node.command(), stdin=subprocess.DEVNULL, stdout=full, stderr=full,
                preexec_fn=harness.die_with_parent)
        eventually(10, lambda: node.http("/readyz")[0] == 200)
        mesh.wait_members()
        deliver_everywhere(mesh)
        # A command that cannot even say what is wrong still ends with its status.
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.BINARY, "node", "--nothing"], stdout=full, stderr=full,
                                  timeout=20)
        assert done.returncode == 64


def test_a_disk_that_was_full_has_room_again():
    """A tmpfs, filled and emptied: the log goes on, and says how many lines it lacks."""
    folder = tempfile.mkdtemp(prefix="smallworld-tmpfs-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    try:
        with Mesh(2) as mesh:
            node = mesh.add(seeds=[mesh[0].mesh])
            with open(os.path.join(folder, "log"), "ab") as log:
                node.errors = log
                node.start().wait_ready()
            with open(os.path.join(folder, "ballast"), "wb", buffering=0) as ballast:
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(bytes(1024))
            # The log's last page still takes some.
            eventually(30, lambda: misbehave(node, 60)
                       or node.metric("smallworld_log_lines_lost_total") > 20)
            deliver_everywhere(mesh)
            lost = node.metric("smallworld_log_lines_lost_total")
            os.unlink(os.path.join(folder, "ballast"))
            time.sleep(1)
            misbehave(node, 1)
            assert node.metric("smallworld_log_lines_lost_total") == lost
            with open(os.path.join(folder, "log"), errors="replace") as log:
                lines = log.read().splitlines()
            said = [line for line in lines if "linesLost=" in line]
            assert [int(re.search(r"linesLost=(\d+)", line)[1]) for line in said] == [lost]
            # The line that was cut by the full disk has not swallowed the next.
            assert re.match(r"\d{4}-\S+Z warning misbehaved .*linesLost=", said[0])
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


def test_a_log_that_nobody_reads_stops_nothing():
    """`smallworld node 2>&1 | less`, and nobody turns the page."""
    with Mesh(2) as mesh:
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        node = mesh.add(seeds=[mesh[0].mesh])
        node.errors = writer
        node.start().wait_ready()
        os.close(writer)
        misbehave(node, 60)
        lost = node.metric("smallworld_log_lines_lost_total")
        assert lost > 20
        is_calm(node)
        deliver_everywhere(mesh)
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(reader, 65_536):
                pass
        time.sleep(1)
        misbehave(node, 1)
        assert b"linesLost=%d" % lost in os.read(reader, 65_536)
        # The reader is gone altogether.
        os.close(reader)
        misbehave(node, 3)
        assert node.metric("smallworld_log_lines_lost_total") >= lost + 3
        deliver_everywhere(mesh)


# ---- descriptors


def connections_until_refused(node, most):
    """Connected clients, and what the one after them was told."""
    held = []
    for _ in range(most):
        connection = node.connect("redis")
        connection.sendall(resp.encode("PING"))
        said = b""
        with contextlib.suppress(OSError):
            said = connection.recv(100)
        if said != b"+PONG\r\n":
            connection.close()
            return held, said
        held.append(connection)
    raise AssertionError("%d clients, and none was refused" % most)


def test_clients_cannot_use_up_the_descriptors_of_links():
    with Mesh(3) as mesh:
        node = mesh.add(seeds=[mesh[0].mesh])
        node.prefix = ["prlimit", "--nofile=200:200"]
        node.start().wait_ready()
        mesh.wait_members()
        kept = node.wire(2)
        assert kept.call("PING") == b"PONG"
        # What `is_calm` and `metrics` need is there before and during: the HTTP port has some of
        # its own.
        held, said = connections_until_refused(node, 200)
        note("of 200 descriptors: clients", "%d" % len(held))
        assert said.startswith(b"-ERR max number of clients reached")
        assert len(held) > 40
        for _ in range(300):
            node.connect("redis").close()
        is_calm(node)
        assert node.metric("smallworld_descriptors_used_up_total") >= 250
        assert node.http("/healthz")[0] == 200

        # Said once, and not three hundred times.
        complaints = re.findall(r"error descriptorsUsedUp .*", node.printed())
        assert len(complaints) == 1 and "advice=" in complaints[0], complaints

        # Clients that are there are served, links are made.
        assert kept.call("PING") == b"PONG"
        late = mesh.add(seeds=[node.mesh]).start()
        late.wait_ready()
        eventually(10, lambda: late.id in [row["peer"] for row in node_links(kept)])
        assert node.metric("smallworld_deaths_total") == 0

        # It recovers by itself.
        for connection in held:
            connection.close()
        eventually(10, lambda: answers(node, "PING") == b"PONG")
        mesh.wait_members()
        deliver_everywhere(mesh)


def node_links(wire):
    reply = wire.call("MESH.LINKS")
    return [{row[i].decode(): harness.plain(row[i + 1]) for i in range(0, len(row), 2)}
            for row in reply]


def test_when_there_are_no_descriptors_at_all_nothing_spins():
    """So few that connections to the mesh port, which nobody holds back, use them up."""
    with Mesh(2) as mesh:
        node = mesh.add(seeds=[mesh[0].mesh])
        node.prefix = ["prlimit", "--nofile=48:48"]
        node.start().wait_ready()
        mesh.wait_members()
        kept = node.wire(2)
        assert kept.call("PING") == b"PONG"
        held = [node.connect("mesh") for _ in range(100)]
        used_up = time.monotonic()
        is_calm(node)
        assert kept.call("PING") == b"PONG"
        # Whoever does not shake hands in time is closed.
        eventually(15, lambda: answers(node, "PING") == b"PONG")
        note("48 descriptors used up by strangers: new clients after", time.monotonic() - used_up)
        for connection in held:
            connection.close()
        assert node.metric("smallworld_descriptors_used_up_total") > 0
        assert len(re.findall(r"error descriptorsUsedUp ", node.printed())) <= 2
        mesh.wait_members()
        deliver_everywhere(mesh)


@pytest.mark.turn
@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS, errno.EMFILE],
                         ids=errno.errorcode.get)
def test_when_accepting_fails_nothing_spins(library, number):
    with spoilable(library, 3) as (mesh, faults):
        kept = mesh[1].wire(2)
        assert kept.call("PING") == b"PONG"
        faults[1].set(accepts=(100, number))
        waiting = [mesh[1].connect("redis") for _ in range(20)]
        is_calm(mesh[1])
        assert kept.call("PING") == b"PONG"
        faults[1].set(accepts=(0, 0))
        eventually(10, lambda: answers(mesh[1], "PING") == b"PONG")
        for connection in waiting:
            connection.settimeout(10)
            connection.sendall(resp.encode("PING"))
            assert connection.recv(100) == b"+PONG\r\n"
            connection.close()
        assert mesh[1].metric("smallworld_accepts_failed_total") > 0
        deliver_everywhere(mesh)


# ---- ports


def test_a_port_in_use_is_said_with_its_address_and_flag():
    with Mesh(1) as mesh:
        node = mesh[0]
        for flag in ("mesh", "redis", "http"):
            address = text(node.addresses[flag])
            words = [harness.BINARY, "node"]
            for name in ("mesh", "redis", "http"):
                words += ["--" + name, address if name == flag else "127.0.0.1:0"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=20)
            assert done.returncode == 1, done
            assert address in done.stderr and "--" + flag in done.stderr, done.stderr
            assert "in use" in done.stderr and "another process has that port" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        done = subprocess.run(
            [harness.BINARY, "node", "--mesh", "192.0.2.1:7400", "--insecure"],
            capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert "192.0.2.1:7400 (--mesh)" in done.stderr and "no such address" in done.stderr
        # Who was there first is not disturbed.
        assert node.call("PING") == b"PONG"


@pytest.mark.turn
@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_ports_are_free_at_once_after_an_end_with_open_connections(end):
    with Mesh(3) as mesh:
        node = mesh[1]
        node.seeds = [mesh[0].mesh]
        clients = [node.wire(2) for _ in range(20)]
        assert all(client.call("PING") == b"PONG" for client in clients)
        # Whoever ends first keeps the connection in TIME_WAIT, at its port.
        getattr(node, end)()
        node.restart().wait_ready()
        assert answers(node, "PING") == b"PONG"
        for client in clients:
            client.close()
        mesh.wait_members()
        deliver_everywhere(mesh)


# ---- memory of the kernel


@pytest.mark.turn
@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
def test_sends_without_memory_are_repeated(library, number):
    with spoilable(library, 5) as (mesh, faults):
        with Traffic(mesh) as traffic:
            traffic.go_on(0.5)
            for fault in faults:
                fault.set(sends=(70, number))
            traffic.go_on(2)
            for fault in faults:
                fault.set(sends=(0, 0))
            traffic.go_on(0.5)
            traffic.finish()
        # Not one connection was given up for it.
        traffic.check()
        assert total(mesh, "smallworld_sends_starved_total") > 100
        assert total(mesh, "smallworld_links_lost_total") == 0
        assert total(mesh, "smallworld_deaths_total") == 0

        # None at all for a while: nothing spins, what waits leaves afterwards.
        wire = subscribed(mesh[1].wire(3), "SUBSCRIBE", "late")
        eventually(5, lambda: mesh[2].call("PUBSUB", "NUMSUB", "late")[1] == 1)
        faults[1].set(sends=(100, number))
        for round in range(100):
            assert mesh[2].call("PUBLISH", "late", "%d" % round) == 1
        is_calm(mesh[1], 0.7)
        faults[1].set(sends=(0, 0))
        for round in range(100):
            assert wire.read(5)[2] == b"%d" % round
        deliver_everywhere(mesh)


def test_a_client_that_is_refused_memory_gets_its_large_reply(library):
    """Replies are kept until they leave, in the order in which they were asked for."""
    with spoilable(library, 2) as (mesh, faults):
        faults[0].set(sends=(80, errno.ENOBUFS))
        with socket.create_connection(mesh[0].addresses["redis"], 20) as client:
            payload = b"x" * 100_000
            client.sendall(b"".join(resp.encode("ECHO", payload + b"%03d" % i) for i in range(50)))
            wanted = b"".join(b"$100003\r\n" + payload + b"%03d\r\n" % i for i in range(50))
            got = bytearray()
            while len(got) < len(wanted):
                data = client.recv(1 << 20)
                assert data
                got += data
            assert got == wanted
