"""Bad input on each port.

Whatever comes: a clear error or a closed connection, a count in /metrics, bounded memory, and a
node that keeps serving everybody else. The fixture checks the last three after each test.
"""
import contextlib
import random
import re
import socket
import struct
import threading
import time

import pytest

import peer as wire
from mesh import Mesh, deliver_everywhere, eventually, note, subscribed
from resp import Failure, encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(60)]
MEGABYTE = 1 << 20
#: Series of /metrics that count what others did wrong.
BLAME = re.compile(
    r"smallworld_\w*(error|misbehav|refus|timed_out|over_limit|overdue|malformed|invalid|abandon|displac|reject)\w*")


class Kept:
    """The two nodes that the tests share, until one has failed: what it has left behind must not
    be the next one's failure."""

    mesh = None

    @classmethod
    def drop(cls):
        mesh, cls.mesh = cls.mesh, None
        if mesh is not None:
            mesh.stop()


@pytest.fixture(scope="module", autouse=True)
def ended():
    yield
    Kept.drop()


@pytest.fixture
def pair(request):
    """The node that is treated badly, and one that it must go on working with."""
    if Kept.mesh is None:
        Kept.mesh = Mesh(2)
        Kept.mesh.greeting = wire.overheard(Kept.mesh)
        Kept.mesh.wait_members()
    yield Kept.mesh
    if getattr(request.node, "has_failed", False):
        Kept.drop()


@pytest.fixture
def victim(pair, request):
    """The node; afterwards it must be as well as before."""
    node, friend = pair[0], pair[1]
    before = node.resident()
    listener = subscribed(friend.wire(3), "SUBSCRIBE", "still")
    eventually(5, lambda: node.call("PUBSUB", "NUMSUB", "still") == [b"still", 1])
    descriptors = node.descriptors()
    yield node
    try:
        start = time.monotonic()
        assert node.call("PUBLISH", "still", "there") == 1
        assert listener.read(2) == [b"message", b"still", b"there"]
        assert time.monotonic() - start < 1.0, "it serves slowly"
        assert node.http("/readyz")[0] == 200
        eventually(15, lambda: len(node.members()) == 2 and len(friend.members()) == 2
                   and not node.members("suspect"))
        eventually(15, lambda: node.descriptors() <= descriptors + 2)
        grown = node.resident() - before
        assert grown < 64 * MEGABYTE, "its memory grew by %d MiB" % (grown // MEGABYTE)
        listener.close()
    except BaseException:
        request.node.has_failed = True
        raise


def blame(node):
    """All that the node has counted against others."""
    return sum(value for name, value in node.metrics().items() if BLAME.match(name))


class Counted:
    """What happens in the block is counted."""

    def __init__(self, node, least=1):
        self.node, self.least = node, least

    def __enter__(self):
        self.before = blame(self.node)

    def __exit__(self, kind, *_):
        if kind is None:
            eventually(5, self.check)

    def check(self):
        counted = blame(self.node) - self.before
        assert counted >= self.least, "counted %d, not %d" % (counted, self.least)


class Peak:
    """The highest resident memory of the node during the block, sampled."""

    def __init__(self, node):
        self.node = node

    def __enter__(self):
        self.before = self.highest = self.node.resident()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        while not self.ended.wait(0.02):
            self.highest = max(self.highest, self.node.resident())

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    @property
    def grown(self):
        return (self.highest - self.before) / MEGABYTE


def closes(node, port, data, within=5, shut=False):
    """Sends it on a fresh connection; what came back until the node closed it."""
    with node.connect(port) as connection:
        connection.settimeout(within)
        said = b""
        try:
            connection.sendall(data)
            if shut:
                with contextlib.suppress(OSError):  # It may have closed already.
                    connection.shutdown(socket.SHUT_WR)
            while True:
                more = connection.recv(1 << 16)
                if not more:
                    return said
                said += more
        except (ConnectionResetError, BrokenPipeError):
            return said
        except TimeoutError:
            raise AssertionError("%s: still open after %s s, said %r" % (
                port, within, said[:200])) from None


# ---- every port

GARBAGE = random.Random(11)


@pytest.mark.parametrize("port", ["mesh", "redis", "http"])
def test_garbage(victim, port):
    with Counted(victim):
        for size in (1, 7, 8, 9, 100, 1_000, 100_000, 1_000_000):
            data = GARBAGE.randbytes(size)
            closes(victim, port, data, shut=True)
        # Garbage that ends lines, too.
        closes(victim, port, b"".join(GARBAGE.randbytes(40).replace(b"\n", b"") + b"\r\n"
                                      for _ in range(10_000)), shut=True)


@pytest.mark.parametrize("port", ["mesh", "redis", "http"])
def test_a_thousand_connections_that_end_at_once(victim, port):
    for number in range(1_000):
        connection = victim.connect(port)
        if number % 2:
            # Reset instead of an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if number % 3:
            connection.send(b"*1\r\n$")
        connection.close()


@pytest.mark.parametrize("port,limit", [("mesh", 4), ("http", 15)])
def test_silence_ends(victim, port, limit):
    """A connection that says nothing does not hold its place. (Redis keeps idle clients.)"""
    with Counted(victim):
        start = time.monotonic()
        assert closes(victim, port, b"", within=limit) == b""
        note("a silent connection to the %s port is closed after" % port, time.monotonic() - start)


@pytest.mark.parametrize("port,limit", [("mesh", 12), ("http", 15), ("redis", None)])
def test_slow_loris(victim, port, limit):
    """A hundred connections that send one byte at a time do not keep others from being served."""
    data = {"mesh": wire.link(wire.HELLO, b"x" * 400),
            "http": b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X-Y: z\r\n" * 100,
            "redis": encode("PUBLISH", "slow", "y" * 400)}[port]
    connections = [victim.connect(port) for _ in range(100)]
    client, slowest, closed, start, sent = victim.wire(2), 0.0, set(), time.monotonic(), 0
    try:
        while time.monotonic() - start < (limit or 3) and len(closed) < 100:
            for connection in connections:
                if connection in closed:
                    continue
                try:
                    connection.send(data[sent:sent + 1])
                    connection.setblocking(False)
                    if connection.recv(100) == b"":
                        closed.add(connection)
                except BlockingIOError:
                    pass
                except (ConnectionResetError, BrokenPipeError):
                    closed.add(connection)
            sent += 1
            before = time.monotonic()
            assert client.call("PING") == b"PONG"
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(0.05)
        if limit:
            assert len(closed) == 100, "%d of 100 are still open after %d s" % (
                100 - len(closed), limit)
            note("slow-loris on %s: 100 connections closed after" % port, time.monotonic() - start)
        note("slow-loris on %s: slowest PING beside it" % port, slowest)
        assert slowest < 0.5
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("port", ["mesh", "redis", "http"])
def test_half_closed_connections_end(victim, port):
    """The client has shut its side down: nothing can come any more."""
    partial = {"mesh": wire.link(wire.HELLO, b"x" * 40)[:20], "redis": b"*2\r\n$4\r\nPI",
               "http": b"GET / HT"}[port]
    for data in (b"", partial):
        closes(victim, port, data, within=5, shut=True)


# ---- the Redis port


@pytest.mark.parametrize("data,says", [
    (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*-99999999999999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\n$-7\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$99999999999999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$4294967296\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n:4\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"PING \"\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"x" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
    (b"*" + b"1" * 70_000, b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\n$" + b"1" * 70_000, b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    (b"Host: x\r\n", b"")], ids=lambda v: repr(v[:30]) if isinstance(v, bytes) else None)
def test_redis_protocol_errors_close_with_a_reason(victim, data, says):
    with Counted(victim):
        assert closes(victim, "redis", data) == says


def test_redis_http_get(victim):
    """A browser sent to the wrong port learns so, and no request gets through."""
    said = closes(victim, "redis", b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n")
    assert said.startswith(b"-ERR") and said.count(b"\r\n") == 1, said


def test_redis_announced_lengths_allocate_nothing(victim):
    with Peak(victim) as peak:
        connections = []
        for _ in range(20):
            one = victim.connect("redis")
            one.sendall(b"*1048576\r\n$60000000\r\n" + b"x" * 100)
            connections.append(one)
        time.sleep(0.5)
        for one in connections:
            one.close()
    assert peak.grown < 64, "grew by %d MiB for what was only announced" % peak.grown


def test_redis_a_million_tiny_commands(victim):
    count = 1_000_000
    with Peak(victim) as peak, victim.connect("redis") as connection:
        start = time.monotonic()
        pipeline = b"*1\r\n$4\r\nPING\r\n" * count
        sender = threading.Thread(target=connection.sendall, args=(pipeline,))
        sender.start()
        received = 0
        connection.settimeout(20)
        while received < count * len(b"+PONG\r\n"):
            received += len(connection.recv(1 << 20))
        sender.join()
        note("a million PINGs in one pipeline", time.monotonic() - start)
        note("… memory of the node grew by", "%.1f MiB" % peak.grown)
    assert peak.grown < 64


@pytest.mark.parametrize("unit", [b"\r\n", b"*0\r\n", b"x\r\n", b"*1\r\n$0\r\n\r\n"], ids=repr)
def test_redis_a_million_frames_of_nothing(victim, unit):
    with Peak(victim) as peak, victim.connect("redis") as connection:
        connection.settimeout(20)

        def send():
            connection.sendall(unit * 1_000_000 + encode("PING", "at the end"))

        sender = threading.Thread(target=send)
        sender.start()
        tail = b""
        while b"at the end" not in tail:
            tail = tail[-100:] + connection.recv(1 << 20)
        sender.join()
    assert peak.grown < 64


def test_redis_a_client_that_asks_and_never_reads(victim):
    """Its replies pile up to a bound, then it is not read from any more, or closed."""
    with Peak(victim) as peak, victim.connect("redis") as connection:
        connection.settimeout(0.5)
        asked = 0
        payload = encode("ECHO", "e" * 10_000) * 100
        try:
            while asked < 512 * MEGABYTE:
                asked += connection.send(payload)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
    note("replies that nobody reads: taken %d MiB, memory" % (asked // MEGABYTE),
         "%.1f MiB" % peak.grown)
    # The limit for clients that are not subscribed is 256 MiB (Redis has none).
    assert peak.grown < 400


def test_redis_a_subscriber_that_never_reads(victim, pair):
    """The output limit of Redis: 32 MiB, then it is closed. The publisher loses nothing else."""
    slow = subscribed(victim.wire(3), "SUBSCRIBE", "flood")
    fast = subscribed(victim.wire(3), "SUBSCRIBE", "flood")
    eventually(5, lambda: pair[1].call("PUBSUB", "NUMSUB", "flood") == [b"flood", 2])
    got = []

    def read():
        while len(got) < 200:
            got.append(fast.read(10)[2])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with Peak(victim) as peak, Counted(victim):
        publisher = pair[1].wire(2)
        for number in range(200):
            publisher.send(encode("PUBLISH", "flood", b"%d " % number + b"x" * MEGABYTE))
            assert publisher.reply() == 1
        reader.join(20)
        publisher.close()
        assert [payload.split()[0] for payload in got] == [b"%d" % n for n in range(200)]
        eventually(5, lambda: victim.call("PUBSUB", "NUMSUB", "flood") == [b"flood", 1])
    fast.close()
    slow.close()
    note("200 MiB for one who does not read: memory", "%.1f MiB" % peak.grown)
    assert peak.grown < 256


def test_redis_truncated_commands(victim):
    whole = encode("PUBLISH", "truncated", "payload")
    listener = subscribed(victim.wire(3), "SUBSCRIBE", "truncated")
    for cut in range(1, len(whole)):
        closes(victim, "redis", whole[:cut], shut=True)
    assert listener.waiting(0.2) == []
    listener.close()


def test_redis_long_inline_lines(victim):
    with victim.connect("redis") as connection:
        connection.settimeout(5)
        connection.sendall(b"PING " + b"x" * 60_000 + b"\r\n")
        expected = b"$60000\r\n" + b"x" * 60_000 + b"\r\n"
        said = b""
        while len(said) < len(expected):
            said += connection.recv(1 << 16)
        assert said == expected


def test_redis_names_that_are_too_long(victim):
    client = victim.wire(2)
    for words in (["SUBSCRIBE", "n" * 65_536], ["PSUBSCRIBE", "n" * 65_536],
                  ["SSUBSCRIBE", "n" * 65_536], ["PUBLISH", "n" * 65_536, "x"],
                  ["SPUBLISH", "n" * 65_536, "x"]):
        assert isinstance(client.call(*words), Failure), words[0]
        assert client.call("PING") == b"PONG"
    client.close()


# ---- the mesh port


@pytest.mark.parametrize("data", [
    b"\0" * 8, struct.pack("<IBBBB", 7, 1, 0, 0, 0), struct.pack("<IBBBB", 8, 1, 0, 0, 0),
    struct.pack("<IBBBB", 0xFFFFFFFF, 1, 0, 0, 0), struct.pack("<IBBBB", 66 << 20 | 1, 2, 0, 0, 0),
    wire.frame(0, b"x" * 40), wire.frame(4, b"x" * 40), wire.frame(255, b"x" * 40),
    wire.link(0), wire.link(99), wire.link(wire.HELLO), wire.link(wire.HELLO, b"\xff" * 100),
    wire.link(wire.HEARTBEAT, b"\0" * 20), wire.link(wire.HELLO, b"\0" * 12 + b"\xff"),
    wire.routed(1, [2], b"n", b"p", length=10), wire.frame(wire.ARC, b"", length=9),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", encode("PING"), b"PING\r\n" * 10],
    ids=lambda data: data[:12].hex() + "…%d" % len(data))
def test_mesh_what_no_peer_sends_closes_and_counts(victim, data):
    with Counted(victim):
        closes(victim, "mesh", data, within=4)


def test_mesh_truncated_hello(victim, pair):
    record = wire.member(5, 6)
    whole = wire.link(wire.HELLO, pair.greeting.encode(wire.NEIGHBOUR, record))
    for cut in range(1, len(whole)):
        closes(victim, "mesh", whole[:cut], shut=True)
    # Shortened with a frame length that fits: the message itself ends too early.
    content = whole[8:]
    with Counted(victim, len(content) - 1):
        for cut in range(1, len(content)):
            closes(victim, "mesh", wire.frame(wire.LINK, content[:cut]), within=4)


def test_mesh_another_cluster_is_refused(victim, pair):
    for lies, reason in (({"cluster": b"other"}, wire.WRONG_CLUSTER),
                         ({"cluster_id": b"\1" * 8}, wire.WRONG_CLUSTER),
                         ({"versions": struct.pack("<HH", 77, 99)}, wire.WRONG_VERSION)):
        with Counted(victim):
            liar, _ = wire.introduced(victim, pair.greeting, **lies)
            assert liar.expect(wire.REFUSE)[0] == reason, lies
            liar.wait_closed(5)
    assert len(victim.members()) == 2, "a stranger has become a member"


def test_mesh_a_peer_with_the_nodes_own_id(victim, pair):
    liar, _ = wire.introduced(victim, pair.greeting, id=int(victim.id, 16))
    assert liar.expect(wire.REFUSE)[0] == wire.ONESELF
    liar.wait_closed(5)


def test_mesh_handshakes_that_never_end_leave_room_for_real_nodes(victim, pair):
    held = [victim.connect("mesh") for _ in range(300)]
    try:
        time.sleep(0.2)
        late = pair.add(seeds=[victim.mesh]).start()
        note("joined past 300 idle connections after", late.wait_ready(10))
        eventually(5, lambda: len(late.members()) == 3)
        assert late.terminate() == 0
        pair.nodes.remove(late)
    finally:
        for connection in held:
            connection.close()


def test_mesh_strangers_that_come_again_and_again_leave_room_for_real_nodes(victim, pair):
    """All places for greetings are taken all the time, half of them by those who say a byte."""
    stop, made = threading.Event(), []

    def flood():
        held = []
        while not stop.is_set():
            with contextlib.suppress(OSError):
                held.append(victim.connect("mesh"))
                if len(held) % 2:
                    held[-1].send(b"\0")
                made.append(1)
            if len(held) > 150:
                held.pop(0).close()
        for connection in held:
            connection.close()

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(2)]
    with Counted(victim, 100):
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            late = pair.add(seeds=[victim.mesh]).start()
            note("joined past strangers that come again and again after", late.wait_ready(10))
            eventually(5, lambda: len(late.members()) == 3)
            deliver_everywhere(pair)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    note("connections of strangers meanwhile", len(made))
    assert len(made) > 500
    log = victim.printed()
    assert 1 <= log.count("greetingDisplaced") <= 4, log[-2000:]
    assert late.terminate() == 0
    pair.nodes.remove(late)


LIAR, NOBODY = 0x1111, 0x2222


@pytest.mark.parametrize("name,data", [
    ("no destinations", wire.routed(LIAR, [], b"n", b"p" * 40)),
    ("65,535 destinations in a short frame", wire.routed(LIAR, [NOBODY], b"n", b"p", count=65_535)),
    ("a name past the end", wire.routed(LIAR, [NOBODY], b"n", b"p", name_length=65_535)),
    ("shorter than its header", wire.frame(wire.ROUTED, b"x" * 30)),
    ("a hop count that grows in a link list", wire.link(wire.LINK_LISTS, struct.pack(
        "<HQQIBH", 1, LIAR, 1, 1, 255, 0))),
    ("a hop count that grows in a change of links", wire.link(wire.LINK_CHANGES, struct.pack(
        "<HQIBIBB", 1, LIAR, 1, 255, 0, 0, 0))),
    ("a change of more links than its frame has", wire.link(wire.LINK_CHANGES, struct.pack(
        "<HQIBIBB", 1, LIAR, 1, 0, 0, 255, 255))),
    ("a status that there is not", wire.link(wire.STATUSES, struct.pack(
        "<HQIB", 1, LIAR, 1, 4))),
    ("a list longer than its frame", wire.link(wire.MEMBERS, b"\0" + b"\xff\xff" + b"x" * 30)),
    ("digests of nothing", wire.link(wire.DIGESTS, b"\xff\xff")),
    ("records that are not there", wire.link(wire.RECORDS, struct.pack(
        "<QQQBH", LIAR, 1, 1, 0, 4_096))),
    ("records from sequence 0", wire.link(wire.RECORDS, struct.pack("<QQQBH", LIAR, 1, 0, 0, 0))),
    ("a snapshot whose keys run backwards", wire.link(wire.SNAPSHOT, struct.pack(
        "<QQQQQBHBBBH", LIAR, 1, 1, 10, 5, 0, 3, 1, 1, 1, 0))),
    ("bytes after the message", wire.link(wire.BYE, b"more")),
    ("a second hello", None),
    ("an arc with a broken message", wire.arc(LIAR, 0, bytes([wire.RECORDS, 0xff]))),
    ("a control message that is broken", wire.routed(
        LIAR, [NOBODY], b"", b"\xff\xff", body=wire.CONTROL))],
    ids=lambda v: v if isinstance(v, str) else "")
def test_mesh_a_member_that_lies_about_lengths(victim, pair, name, data):
    liar, id = wire.introduced(victim, pair.greeting)
    liar.expect(wire.WELCOME)
    if data is None:
        data = wire.link(wire.HELLO, pair.greeting.encode(wire.NEIGHBOUR, wire.member(id, 1)))
    own = struct.pack("<Q", int(victim.id, 16))
    data = data.replace(struct.pack("<Q", NOBODY), own).replace(
        struct.pack("<Q", LIAR), struct.pack("<Q", id))
    with Counted(victim):
        liar.send(data)
        liar.wait_closed(5)


def test_mesh_a_member_that_lies_about_ids_and_hops(victim, pair):
    """Well-formed and false: dropped and counted, never looped, never delivered wrongly."""
    listener = subscribed(victim.wire(3), "SUBSCRIBE", "lies")
    dropped = ["smallworld_dropped_hop_limit_total", "smallworld_dropped_no_route_total",
               "smallworld_dropped_unknown_destination_total"]
    before = victim.metrics()
    liar, id = wire.introduced(victim, pair.greeting)
    liar.expect(wire.WELCOME)
    own, friend = int(victim.id, 16), int(pair[1].id, 16)
    for frame in (
            wire.routed(id, [0xDEAD], b"lies", b"nobody has that id"),
            wire.routed(id, [0xDEAD] * 1_000, b"lies", b"a thousand times"),
            wire.routed(id, [friend], b"lies", b"no hops left", hops_left=0),
            wire.routed(own, [friend], b"none", b"you said that yourself", hops_left=255,
                        hops_taken=65_535),
            wire.routed(friend, [id], b"lies", b"back to the liar", hops_left=255),
            wire.routed(id, [own, own, own], b"none", b"three times the same"),
            wire.routed(id, [own], b"nobody subscribed", b"x", body=wire.USER),
            wire.routed(id, [own], b"x", b"x", body=77),
            wire.routed(id, [own], b"lies", b"true", life=0xFFFFFFFF, hops_taken=65_535)):
        if not liar.send(frame):
            liar, id = wire.introduced(victim, pair.greeting)
            liar.expect(wire.WELCOME)
    time.sleep(0.5)
    seen = [frame[2] for frame in listener.waiting(0.2)]
    assert set(seen) <= {b"true"} and len(seen) <= 1, seen
    after = victim.metrics()
    assert sum(after[name] - before[name] for name in dropped) >= 2, "the drops are not counted"
    assert after["smallworld_messages_forwarded_total"] \
        - before["smallworld_messages_forwarded_total"] < 50, "something went round in circles"
    liar.close()
    listener.close()


@pytest.mark.parametrize("incarnation", ["an hour ahead", "the highest there is"])
def test_mesh_a_member_that_declares_others_dead(victim, pair, incarnation):
    """One liar, whatever it says of others: the accused refute, and stay."""
    for name in (pair[1].id, victim.id):
        value = (int(time.time() * 1000) + 3_600_000 << 16) if incarnation == "an hour ahead" \
            else 2 ** 64 - 1
        record = wire.member(int(name, 16), value, status=2, name=b"slandered")
        liar, id = wire.introduced(victim, pair.greeting)
        liar.expect(wire.WELCOME)
        liar.send(wire.link(wire.MEMBERS, b"\0" + struct.pack("<H", 1) + record))
        time.sleep(0.5)
        liar.close()
    eventually(20, lambda: len(victim.members()) == 2 and len(pair[1].members()) == 2)
    deliver_everywhere(pair)


def test_mesh_a_million_tiny_frames(victim, pair):
    liar, _ = wire.introduced(victim, pair.greeting)
    liar.expect(wire.WELCOME)
    heartbeat = wire.link(wire.HEARTBEAT, b"\0" * 20)
    with Peak(victim) as peak:
        start = time.monotonic()
        for _ in range(100):
            liar.send(heartbeat * 10_000)
        took = time.monotonic() - start
        assert victim.call("PING", timeout=5) == b"PONG"
    liar.close()
    note("a million tiny frames taken in", took)
    assert peak.grown < 64, "memory grew by %d MiB" % peak.grown


def test_mesh_a_member_that_never_reads(victim, pair):
    """Answers pile up to a bound: then the link ends."""
    liar, id = wire.introduced(victim, pair.greeting)
    liar.expect(wire.WELCOME)
    request = wire.link(wire.DIGESTS, struct.pack("<H", 64) + b"\7" * 512) * 1_000
    with Peak(victim) as peak:
        end = time.monotonic() + 5
        liar.socket.settimeout(0.5)
        try:
            while time.monotonic() < end:
                liar.socket.send(request)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
    liar.close()
    note("questions whose answers nobody reads: memory", "%.1f MiB" % peak.grown)
    assert peak.grown < 300


@pytest.mark.deadline(300)
def test_mesh_thousands_of_false_members(victim, pair):
    """Members that are not there: their number is bounded by what they can do, and they go."""
    liar, _ = wire.introduced(victim, pair.greeting)
    liar.expect(wire.WELCOME)
    now = int(time.time() * 1000) << 16
    source = random.Random(5)
    with Peak(victim) as peak:
        for _ in range(4):
            records = b"".join(wire.member(source.getrandbits(64), now, address=("127.0.0.1", 9))
                               for _ in range(500))
            liar.send(wire.link(wire.MEMBERS, b"\0" + struct.pack("<H", 500) + records))
        assert victim.call("PING", timeout=5) == b"PONG"
        time.sleep(1)
    liar.close()
    assert peak.grown < 64
    # The watchers of a false member are its ring neighbours, and most of these are false too: each is
    # asked and dialled before the others' word counts. So it goes along the ring, some at a time.
    start = time.monotonic()
    eventually(240, lambda: len(victim.members()) == 2)
    note("2,000 false members forgotten after", time.monotonic() - start)


# ---- the HTTP port


@pytest.mark.parametrize("data,status", [
    (b"PING\r\n\r\n", 400), (encode("PING") + b"\r\n\r\n", 400), (b"\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 505), (b"GET  / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", 400), (b"GET / HTTP/1.1\nHost: x\n\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000, 431)],
    ids=lambda v: repr(v[:30]) if isinstance(v, bytes) else None)
def test_http_bad_requests(victim, data, status):
    with Counted(victim):
        said = closes(victim, "http", data)
        # A peer that closes while more arrives may reset the connection: the answer can be lost.
        assert said.startswith(b"HTTP/1.1 %d " % status) or (not said and len(data) > 65_536), said


def test_http_methods_and_paths(victim):
    for method, path, status in (("POST", "/metrics", 405), ("DELETE", "/", 405),
                                 ("GET", "/nothing", 404), ("GET", "/../etc/passwd", 404)):
        said = closes(victim, "http", b"%s %s HTTP/1.1\r\nConnection: close\r\n\r\n" % (
            method.encode(), path.encode()))
        assert said.startswith(b"HTTP/1.1 %d " % status), said


def test_http_ten_thousand_requests_in_one_pipeline(victim):
    with Peak(victim) as peak:
        said = closes(victim, "http", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000,
                      within=15, shut=True)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert peak.grown < 64, "memory grew by %d MiB" % peak.grown


def test_http_more_connections_than_there_is_room_for(victim):
    held = []
    with Counted(victim):
        try:
            held = [victim.connect("http") for _ in range(400)]
            time.sleep(0.3)
        finally:
            for connection in held:
                connection.close()
    eventually(5, lambda: victim.http("/readyz")[0] == 200)
