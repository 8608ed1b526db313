"""More than the mesh can carry: who is slowed, who is not, and that it ends.

A destination that takes nothing is a node
that is stopped for less time than it takes to be declared dead.
"""
import select
import threading
import time

import pytest

import mesh
from mesh import Mesh, eventually, note
from pace import Paced, Stream
from resp import encode

pytestmark = pytest.mark.mesh


class Flood(threading.Thread):
    """Publishes numbered messages of one size as fast as its node reads, until told not to."""

    def __init__(self, node, channel, size):
        super().__init__(daemon=True)
        self.wire = node.wire(2, timeout=30)
        self.channel, self.size = channel, size
        self.sent = 0
        self.longest = 0.0
        self.failure = None
        self.ended = threading.Event()

    def run(self):
        head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n" % (
            len(self.channel), self.channel, self.size)
        rest = b"." * (self.size - 9) + b"\r\n"
        try:
            while not self.ended.is_set():
                start = time.monotonic()
                self.wire.send(head + b"%09d" % self.sent + rest)
                self.sent += 1
                self.longest = max(self.longest, time.monotonic() - start)
                if self.sent % 64 == 0:
                    self.answers(0)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error

    def answers(self, within):
        """Takes the replies that are there; each must be a number of receivers, and not 0."""
        poll = select.poll()
        poll.register(self.wire.socket, 1)
        if poll.poll(within * 1000):
            data = self.wire.socket.recv(1 << 18)
            assert data and b"-" not in data and b":0" not in data, data[:200]

    def finish(self):
        self.ended.set()
        self.join(40)
        assert self.failure is None, self.failure
        assert not self.is_alive(), "%s: its publisher is not read at all" % self.channel
        return self.sent


class Drain(threading.Thread):
    """Reads a channel's messages of one size and checks that they come in order, each once."""

    def __init__(self, node, channel, size):
        super().__init__(daemon=True)
        self.wire = mesh.subscribed(node.wire(2), "SUBSCRIBE", channel)
        self.wire.socket.setblocking(True)
        self.wire.socket.settimeout(0.05)
        self.frame_size = len(encode("message", channel, b"." * size))
        self.at = self.frame_size - size - 2
        self.count = 0
        self.failure = None
        self.ended = threading.Event()

    def run(self):
        data = bytearray()
        while not self.ended.is_set():
            try:
                more = self.wire.socket.recv(1 << 20)
            except TimeoutError:
                continue
            except OSError as error:
                if not self.ended.is_set():
                    self.failure = str(error)
                return
            if not more:
                self.failure = "the connection has ended"
                return
            data += more
            start = 0
            while start + self.frame_size <= len(data):
                number = int(data[start + self.at:start + self.at + 9])
                if number != self.count:
                    self.failure = "message %d came where %d was due" % (number, self.count)
                    return
                self.count += 1
                start += self.frame_size
            del data[:start]

    def wait(self, count, within):
        def complete():
            assert self.failure is None, self.failure
            assert self.count == count, "%d of %d" % (self.count, count)

        took = eventually(within, complete)
        self.ended.set()
        return took


def pair(publisher, subscriber, channel, size):
    drain = Drain(subscriber, channel, size)
    eventually(5, lambda: publisher.call("PUBSUB", "NUMSUB", channel) == [channel, 1])
    drain.start()
    return Flood(publisher, channel, size), drain


def total(nodes, name):
    return sum(node.metric("smallworld_" + name) for node in nodes)


@pytest.mark.deadline(120)
@pytest.mark.parametrize("stopped", (1.2, 3.0))
def test_who_outruns_a_destination_is_read_more_slowly_and_nobody_else_is(stopped):
    """64 KiB messages as fast as they are taken, to a node that stands still: shorter than it is
    trusted, and so long that it is routed around. The same node's other publishers go on."""
    size = 64 * 1024
    with Mesh(3, extra=["--output-limit", "256mb 0 0"]) as three:
        flood, drain = pair(three[0], three[2], b"flood", size)
        streams = [Stream(b"other:%d" % k, three[i], [three[j]], rate=1_000)
                   for k, (i, j) in enumerate([(0, 1), (1, 0), (0, 0), (0, 1)])]
        with Paced(streams) as load:
            load.go_on(0.5)
            mark = len(streams[0].marks)
            three[2].freeze()
            flood.start()
            load.go_on(stopped)
            taken = flood.sent * size
            retained = three[0].resident()
            three[2].thaw()
            load.go_on(1)
            last = len(streams[0].marks) - 1
            sent = flood.finish()
            load.wait_all()
        drain.wait(sent, 20)
        # The window, a link's queue, the kernel's buffers on both ways; not more.
        assert taken < 64 << 20, "%d MB were taken for a node that takes nothing" % (taken >> 20)
        assert three[0].metric("smallworld_publishers_paused_total") > 0
        assert flood.longest > stopped / 2, "it was slowed: %.2f s" % flood.longest
        for name in ("undelivered_total", "dropped_queue_full_total"):
            assert total(three, name) == 0, name
        least = min(stream.share(0, stream.marks[mark], stream.marks[last]) for stream in streams)
        note("stopped for %.1f s: taken meanwhile for it (MB); the others keep" % stopped,
             "%d; %.3f" % (taken >> 20, least))
        assert least >= 0.95
        for stream in streams:
            assert stream.numbers(0) == list(range(stream.sent))
        assert retained < 256 << 20


@pytest.mark.deadline(60)
def test_who_waits_for_one_destination_is_not_let_on_by_another():
    """One destination stands still for 3 s, another one again and again for a moment: each time that
    this goes on those that wait for it are read again, and not those that wait for the first, or
    its window would fill to its end and messages be given up."""
    size = 256 * 1024
    with Mesh(3, extra=["--output-limit", "1gb 0 0"]) as three:
        still = [pair(three[0], three[2], b"still:%d" % k, size) for k in range(4)]
        halting = [pair(three[0], three[1], b"halting:%d" % k, size) for k in range(4)]
        three[2].freeze()
        for flood, _ in (*still, *halting):
            flood.start()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            three[1].freeze()
            time.sleep(0.03)
            three[1].thaw()
            time.sleep(0.03)
        three[2].thaw()
        for flood, drain in (*still, *halting):
            drain.wait(flood.finish(), 30)
        assert three[0].metric("smallworld_publishers_paused_total") > 50
        assert total(three, "undelivered_total") == 0


@pytest.mark.deadline(60)
def test_many_publishers_wait_for_one_destination_and_nothing_is_refused():
    """Of 400 publishers each has two messages for a node that stands still, 50 MB together: the
    window is for 8. Whoever does not fit in waits, and is answered when the node goes on."""
    with Mesh(2, extra=["--output-limit", "256mb 0 0"]) as two:
        wire = two[1].wire(2)
        assert wire.call("MESH.ATTACH", "bob") == b"OK"
        eventually(5, lambda: two[0].call("MESH.ONLINE", "bob") == [1])
        senders = [two[0].wire(2) for _ in range(400)]
        two[1].freeze()
        for number, sender in enumerate(senders):
            sender.socket.setblocking(False)
            sender.rest = b"".join(encode("MESH.SEND", "bob", (b"%d:%d" % (number, k)).ljust(
                64_000, b".")) for k in range(2))
        end = time.monotonic() + 1
        while time.monotonic() < end:
            push(senders)
        two[1].thaw()
        eventually(10, lambda: push(senders))
        for sender in senders:
            assert [sender.reply(20) for _ in range(2)] == [1, 1]
        got = [wire.read(10)[2].rstrip(b".") for _ in range(2 * len(senders))]
        assert wire.waiting(0.2) == []
        for number in range(len(senders)):
            assert [g for g in got if g.startswith(b"%d:" % number)] == [
                b"%d:%d" % (number, k) for k in range(2)]
        assert total(two, "undelivered_total") == 0

        # Messages that are larger than the window take turns.
        two[1].freeze()
        large = [two[0].wire(2) for _ in range(3)]
        for number, sender in enumerate(large):
            sender.socket.setblocking(False)
            sender.rest = encode("MESH.SEND", "bob", b"%d" % number * (20 << 20))
        end = time.monotonic() + 1
        while time.monotonic() < end:
            push(large)
        two[1].thaw()
        eventually(10, lambda: push(large))
        assert [sender.reply(20) for sender in large] == [1, 1, 1]
        assert sorted(wire.read(10)[2][:1] for _ in large) == [b"0", b"1", b"2"]


def push(senders):
    """Sends what the sockets take; True when nothing is left."""
    is_done = True
    for sender in senders:
        if sender.rest:
            try:
                sender.rest = sender.rest[sender.socket.send(sender.rest):]
            except BlockingIOError:
                pass
            is_done = is_done and not sender.rest
    return is_done


@pytest.mark.deadline(180)
@pytest.mark.parametrize("count, step, degree", ((3, 1, 16), (6, 2, 4)))
def test_an_overload_in_a_cycle_is_no_deadlock(count, step, degree):
    """Each node floods the next but one (or, of three, the next), over links that others need for
    the same, while one after the other stands still for half a second: all windows fill at once.
    Publishers are slowed; all comes, in order; and then the mesh is as quick as before."""
    size = 32 * 1024
    with Mesh(count, extra=["--degree", str(degree), "--output-limit", "1gb 0 0"]) as nodes:
        pairs = [pair(nodes[i], nodes[(i + step) % count], b"cycle:%d" % i, size)
                 for i in range(count)]
        for flood, _ in pairs:
            flood.start()
        start = time.monotonic()
        for turn in range(6):
            node = nodes[turn % count]
            node.freeze()
            time.sleep(0.5)
            node.thaw()
            time.sleep(0.2)
        paused = [node.metric("smallworld_publishers_paused_total") for node in nodes]
        sent = [flood.finish() for flood, _ in pairs]
        took = time.monotonic() - start
        longest = max(drain.wait(number, 60) for number, (_, drain) in zip(sent, pairs))
        assert min(paused) > 0, "each node's publisher was beyond its window: %s" % paused
        assert total(nodes, "undelivered_total") == 0
        note("%d nodes overloaded in a cycle: MB through it; seconds until all had come" % count,
             "%d in %.1f s; %.2f" % (sum(sent) * size >> 20, took, longest))
        # Nothing is left over: a message passes each way at once.
        for i in range(count):
            fresh = mesh.subscribed(nodes[(i + step) % count].wire(2), "SUBSCRIBE", "after:%d" % i)
            eventually(5, lambda: nodes[i].call("PUBSUB", "NUMSUB", "after:%d" % i)[1] == 1)
            nodes[i].call("PUBLISH", "after:%d" % i, "x")
            assert fresh.read(1)[2] == b"x"


@pytest.mark.deadline(60)
def test_volatile_messages_are_dropped_first():
    """Behind 12 MB that wait for a node that stands still, another volatile message is dropped, which
    its sender is told and goes on; one that is to arrive waits, and does."""
    size = 12 << 20
    with Mesh(2, extra=["--output-limit", "256mb 0 0"]) as two:
        wire = two[1].wire(2)
        assert wire.call("MESH.ATTACH", "bob") == b"OK"
        eventually(5, lambda: two[0].call("MESH.ONLINE", "bob") == [1])
        two[1].freeze()
        for kind, dropped in ((b"1", 0), (b"2", 1), (b"3", 1)):
            sender = two[0].wire(2)
            extra = ["VOLATILE"] if kind != b"3" else []
            answer = 0 if kind == b"2" else 1
            assert sender.call("MESH.SEND", "bob", kind * size, *extra, timeout=3) == answer
            assert two[0].metric("smallworld_dropped_volatile_total") == dropped, kind
        two[1].thaw()
        assert [wire.read(10)[2][:1] for _ in range(2)] == [b"1", b"3"]
        assert wire.waiting(0.3) == []
        assert total(two, "undelivered_total") == 0
