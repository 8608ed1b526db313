"""Messages between all pairs of nodes while something happens to some of them."""
import select
import threading
import time

from mesh import eventually, subscribed
from resp import Closed, encode


class Traffic:
    """Each node publishes to a subscriber on each other node, every `interval` seconds.

    A context manager. A node is left out from `leave_out` on; `check` compares what the other
    pairs sent and received.
    """

    def __init__(self, nodes, interval=0.02):
        self.nodes = list(nodes)
        self.interval = interval
        self.round = 0
        self.out = set()
        self.sent = {}
        self.received = {}
        self.failure = None
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.subscribers, self.publishers = {}, {}
        for node in self.nodes:
            self.subscribers[node.index] = subscribed(node.wire(3), "SUBSCRIBE", self.channel(node))
            self.publishers[node.index] = node.wire(2)
        channels = [self.channel(node) for node in self.nodes]
        expected = [item for channel in channels for item in (channel, 1)]
        for node in self.nodes:
            eventually(10, lambda: node.call("PUBSUB", "NUMSUB", *channels) == expected)

    @staticmethod
    def channel(node):
        return b"traffic:%d" % node.index

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)

    def run(self):
        try:
            while not self.ended.is_set():
                with self.lock:
                    self.publish()
                self.drain()
                self.ended.wait(self.interval)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error

    def publish(self):
        here = [node for node in self.nodes if node.index not in self.out]
        for node in here:
            wire = self.publishers[node.index]
            others = [other for other in here if other is not node]
            wire.send(b"".join(encode("PUBLISH", self.channel(other), b"%d %d" % (
                node.index, self.round)) for other in others))
            for other in others:
                self.sent.setdefault((node.index, other.index), []).append(self.round)
        for node in here:
            for _ in range(len(here) - 1):
                self.publishers[node.index].reply(5)
        self.round += 1

    def drain(self, quiet=0.0):
        """Takes what has come; with `quiet` until nothing has come for so long."""
        while True:
            wires = {wire.socket: index for index, wire in self.subscribers.items()
                     if index not in self.out}
            readable, _, _ = select.select(list(wires), [], [], quiet)
            if not readable:
                return
            for socket in readable:
                self.take(wires[socket])

    def take(self, index):
        wire = self.subscribers[index]
        while True:
            try:
                kind, channel, payload = wire.read(0)
            except (TimeoutError, Closed):
                return
            assert kind == b"message" and channel == b"traffic:%d" % index
            sender, round = payload.split()
            self.received.setdefault((int(sender), index), []).append(int(round))

    def leave_out(self, node):
        """From here on nothing is published there, nor to it. Before it is killed or frozen: its
        connections must not block the others."""
        with self.lock:
            self.out.add(node.index)

    def bring_back(self, node):
        with self.lock:
            self.out.discard(node.index)

    def go_on(self, seconds):
        """Lets it run; fails with what has failed meanwhile."""
        time.sleep(seconds)
        if self.failure is not None:
            raise self.failure

    def finish(self):
        """Ends it and takes what is under way."""
        self.ended.set()
        self.thread.join(10)
        if self.failure is not None:
            raise self.failure
        self.drain(0.5)

    def check(self, nodes=None):
        """Between these nodes each message came once and in order; how many."""
        indices = [node.index for node in (self.nodes if nodes is None else nodes)]
        total = 0
        for pair in [(i, j) for i in indices for j in indices if i != j]:
            sent, received = self.sent[pair], self.received.get(pair, [])
            missing = sorted(set(sent) - set(received))
            more = [r for r in received if r not in sent or received.count(r) > 1]
            assert received == sent, "node %d → node %d, of %d: missing %s, more %s" % (
                *pair, len(sent), missing[:10], more[:10])
            total += len(sent)
        return total

    def check_no_doubles(self, nodes=None):
        """Of all, those left out among them: nothing came twice, nothing out of order."""
        for pair, received in self.received.items():
            assert received == sorted(set(received)), "node %d → node %d: %s" % (*pair, received)
