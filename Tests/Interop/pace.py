"""Messages at a fixed rate over several channels, and when each of them came.

    with Paced([Stream(b"a", nodes[0], [nodes[1]], rate=1_000)]) as load:
        load.go_on(5)
    load.streams[0].arrivals[0]           # one entry a message: (number, time)

The rate is open: what is late is sent as soon as it can be, and `late` is the longest that a
publisher's socket took nothing. Frames have a fixed size, so that counting them costs nothing.
"""
import select
import socket
import threading
import time

import mesh
from mesh import eventually
from resp import encode

TICK = 0.005


class Stream:
    """A channel with one publisher, at `rate` messages a second, and subscribers that read well."""

    def __init__(self, channel, publisher, subscribers, rate, size=200):
        self.channel, self.rate, self.size = channel, rate, size
        self.publisher = publisher.wire(2)
        self.listeners = [mesh.subscribed(node.wire(2), "SUBSCRIBE", channel)
                          for node in subscribers]
        self.nodes = (publisher, subscribers)
        self.sent = 0
        self.answered = bytearray()
        self.taken = [0] * len(subscribers)
        self.inputs = [bytearray() for _ in subscribers]
        self.waiting = b""
        self.stuck_since = None
        self.late = 0.0
        #: (time, published, [taken by each subscriber]) a few times a second.
        self.marks = []
        self.frame_size = len(encode("message", channel, self.payload(0)))

    def payload(self, number):
        return (b"%09d" % number).ljust(self.size, b".")

    def heard(self):
        publisher, subscribers = self.nodes
        eventually(5, lambda: publisher.call("PUBSUB", "NUMSUB", self.channel)
                   [1] >= len(subscribers))

    def numbers(self, place):
        """The numbers that came to one subscriber."""
        data, size = self.inputs[place], self.frame_size
        at = size - self.size - 2
        return [int(data[k + at:k + at + 9]) for k in range(0, len(data) - size + 1, size)]

    def share(self, place, first=None, last=None):
        """What came between two marks, of what its rate says."""
        first, last = first or self.marks[0], last or self.marks[-1]
        return (last[2][place] - first[2][place]) / (self.rate * (last[0] - first[0]))


class Paced:
    """Publishes on all streams from entry to exit, on a thread; another one reads."""

    def __init__(self, streams):
        self.streams = streams
        self.ended = threading.Event()
        self.quiet = threading.Event()
        self.failure = None

    def __enter__(self):
        for stream in self.streams:
            stream.heard()
            for wire in (stream.publisher, *stream.listeners):
                wire.socket.setblocking(False)
        self.reader = threading.Thread(target=self.guard, args=(self.read,), daemon=True)
        self.writer = threading.Thread(target=self.guard, args=(self.write,), daemon=True)
        self.reader.start()
        self.writer.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.writer.join(10)
        self.quiet.set()
        self.reader.join(10)

    def guard(self, body):
        try:
            body()
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error

    def go_on(self, seconds):
        time.sleep(seconds)
        if self.failure is not None:
            raise self.failure

    def wait_all(self, within=20):
        """After the exit of the writer's loop: until all that was sent has come everywhere."""
        self.ended.set()
        self.writer.join(10)
        if self.failure is not None:
            raise self.failure

        def complete():
            for stream in self.streams:
                assert not stream.waiting, stream.channel
                assert min(stream.taken) == stream.sent, (stream.channel, stream.taken, stream.sent)

        eventually(within, complete)

    def write(self):
        start = time.monotonic()
        while not self.ended.is_set():
            now = time.monotonic()
            for stream in self.streams:
                self.publish(stream, int((now - start) * stream.rate), now)
            time.sleep(TICK)
        for stream in self.streams:
            end = time.monotonic() + 8
            while stream.waiting and time.monotonic() < end:
                self.publish(stream, stream.sent, time.monotonic())
                time.sleep(TICK)

    def publish(self, stream, due, now):
        if due > stream.sent and len(stream.waiting) < 1 << 20:
            due = min(due, stream.sent + 2_000)
            stream.waiting += b"".join(
                encode("PUBLISH", stream.channel, stream.payload(number))
                for number in range(stream.sent, due))
            stream.sent = due
        if not stream.waiting:
            return
        try:
            count = stream.publisher.socket.send(stream.waiting)
            stream.waiting = stream.waiting[count:]
            stream.stuck_since = None
        except BlockingIOError:
            stream.stuck_since = stream.stuck_since or now
            stream.late = max(stream.late, now - stream.stuck_since)

    def read(self):
        poll, owners = select.poll(), {}
        for stream in self.streams:
            for place, wire in enumerate([stream.publisher, *stream.listeners], -1):
                poll.register(wire.socket, select.POLLIN)
                owners[wire.socket.fileno()] = (stream, place, wire.socket)
        marked = 0
        while not self.quiet.is_set():
            for descriptor, _ in poll.poll(20):
                stream, place, connection = owners[descriptor]
                data = connection.recv(1 << 18)
                assert data, "a connection of %s has ended" % stream.channel
                if place < 0:
                    assert b"-" not in data, bytes(data[:200])
                else:
                    stream.inputs[place] += data
                    stream.taken[place] = len(stream.inputs[place]) // stream.frame_size
            now = time.monotonic()
            if now - marked >= 0.1:
                marked = now
                for stream in self.streams:
                    stream.marks.append((now, stream.sent, list(stream.taken)))


class SlowReader(threading.Thread):
    """Reads from a connection at so many bytes a second, until told not to; keeps what it read.

    Its kernel holds little for it, so that what it does not take waits at the node."""

    def __init__(self, node, bytes_per_second, *setup):
        super().__init__(daemon=True)
        self.rate = bytes_per_second
        self.wire = node.wire(3)
        self.wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        for words in setup:
            self.wire.send(encode(*words))
            self.wire.read()
        self.data = bytearray()
        self.is_closed = False
        self.ended = threading.Event()
        self.wire.socket.setblocking(False)

    def run(self):
        start = time.monotonic()
        while not self.ended.is_set():
            due = int((time.monotonic() - start) * self.rate) - len(self.data)
            try:
                data = self.wire.socket.recv(max(0, due)) if due > 0 else None
                if data == b"":
                    self.is_closed = True
                    return
                self.data += data or b""
            except BlockingIOError:
                pass
            except OSError:
                self.is_closed = True
                return
            time.sleep(TICK)

    def stop(self):
        """Ends; the connection then has what was read in front of what still waits."""
        self.ended.set()
        self.join(10)
        self.wire.input[:0] = self.data
        return self.wire
