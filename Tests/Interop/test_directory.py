"""A hundred thousand channels on one node: another joins, a link is cut."""
import socket
import time

import pytest

from mesh import Mesh, eventually, note, subscribed
from namespaces import Network, run
from resp import encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(120)]
COUNT = 100_000
NAMES = [b"channel:%d" % number for number in range(COUNT)]


def subscribe_all(node, names):
    """One connection with all these channels, its confirmations read."""
    wire = node.wire(3, timeout=30)
    for start in range(0, len(names), 10_000):
        part = names[start:start + 10_000]
        wire.send(encode("SUBSCRIBE", *part))
        for name in part:
            assert wire.read()[1] == name
    return wire


def exchange(connection, request, size, within):
    """Sends all of the request while reading an answer of `size` bytes."""
    deadline = time.monotonic() + within
    connection.setblocking(False)
    view, answer = memoryview(request), bytearray()
    while len(answer) < size:
        assert time.monotonic() < deadline, "%d of %d bytes of answer" % (len(answer), size)
        try:
            if view:
                view = view[connection.send(view[:1 << 18]):]
        except BlockingIOError:
            pass
        try:
            answer += connection.recv(1 << 20)
        except BlockingIOError:
            time.sleep(0.001)
    return bytes(answer)


def test_a_node_that_joins_is_right_about_all_of_them_at_once():
    with Mesh(2) as mesh:
        wire = subscribe_all(mesh[0], NAMES)
        eventually(10, lambda: mesh[1].call("PUBSUB", "NUMSUB", NAMES[-1]) == [NAMES[-1], 1])
        request = b"".join(encode("PUBLISH", name, "x") for name in NAMES)
        late = mesh.add(seeds=[mesh[1].mesh])
        late.start().wait_listening()
        connection = socket.create_connection(late.addresses["redis"], 10)
        joined = late.wait_ready(10)
        ready = time.monotonic()
        for_join = late.metric("smallworld_received_bytes_total")
        # Not one is wrong, from the first moment on.
        answer = exchange(connection, request, 4 * COUNT, 10)
        took = time.monotonic() - ready
        wrong = COUNT - answer.count(b":1\r\n")
        assert wrong == 0, "%d of %d are wrong" % (wrong, COUNT)
        note("joined a mesh with 100,000 channels, ready after", joined)
        note("… PUBLISH right for all 100,000 of them, after", took)
        assert took < 1.0, "answered within %.2f s of ready" % took
        for name in NAMES:
            kind, channel, payload = wire.read()
            assert channel == name, "out of order: %r instead of %r" % (channel, name)
        assert wire.waiting(0.2) == []
        metrics = late.metrics()
        note("… directory of the new node", "%.1f bytes per channel, %d entries" % (
            metrics["smallworld_directory_bytes"] / COUNT,
            metrics["smallworld_directory_entries"]))
        note("… received for it", "%d bytes" % for_join)
        assert metrics["smallworld_directory_entries"] == COUNT
        connection.close()


class Change:
    """Half an hour's worth of change in a moment: 100 channels more, 100 fewer, of 100,000."""

    fresh = [b"fresh:%d" % number for number in range(100)]
    dropped = NAMES[::1000]

    def __init__(self, wire):
        subscribed(wire, "SUBSCRIBE", *self.fresh[:-1])
        wire.send(encode("UNSUBSCRIBE", *self.dropped))
        for name in self.dropped:
            assert wire.read()[1] == name
        # The last change; who knows it knows the others.
        subscribed(wire, "SUBSCRIBE", self.fresh[-1])

    def last_is_known(self, node):
        return node.call("PUBLISH", self.fresh[-1], "") == 1

    def check(self, node):
        for names, count in ((self.fresh, 1), (self.dropped, 0), (NAMES[1:90_000:1000], 1)):
            assert node.call("PUBSUB", "NUMSUB", *names) == [
                word for name in names for word in (name, count)]
        assert node.metric("smallworld_directory_entries") == COUNT


def received(node):
    """Bytes on all of the node's ports; nearly all of them from other nodes."""
    return node.metric("smallworld_received_bytes_total")


#: 200 records of 7 bytes, the questions around them, heartbeats, and what the test itself asks.
CHANGES_MAX = 20_000


@pytest.mark.parametrize("seconds", [1.0, 2.5, 8.0])
def test_a_restored_link_sends_again_only_what_changed(seconds):
    """The only link between two nodes. Cut for 1 s nobody notices; for 2.5 s the link is lost; for
    8 s each takes the other for dead and forgets what it had."""
    with Network(2) as network, Mesh(2, network=network) as mesh:
        here, there = mesh[0], mesh[1]
        before = received(there)
        wire = subscribe_all(here, NAMES)
        eventually(20, lambda: there.call("PUBLISH", NAMES[-1], "") == 1)
        whole = received(there) - before
        wire.waiting(0.1)
        network.cut([0], [1])
        time.sleep(seconds)
        change = Change(wire)
        before, repaired = received(there), there.metric("smallworld_record_bytes_repaired_total")
        network.heal()
        took = eventually(10, change.last_is_known, there)
        bytes = received(there) - before
        eventually(1, change.check, there)
        note("cut for %.1f s, 200 of 100,000 changed: right again after" % seconds, took)
        note("… bytes received, of them directory repair", "%d, %d (as it came live: %d)" % (
            bytes, there.metric("smallworld_record_bytes_repaired_total") - repaired, whole))
        if seconds < 5:
            assert bytes < CHANGES_MAX, "%d bytes for 200 changes" % bytes
        else:
            assert bytes < whole * 1.2
        wire.waiting(0.1)
        after = [b"after:%d" % number for number in range(10)]
        subscribed(wire, "SUBSCRIBE", *after)
        eventually(2, lambda: there.call("PUBLISH", after[-1], "x") == 1)


def test_one_link_of_three_cut_for_long_costs_nothing():
    """The others tell what changes, nobody dies, and the link that comes back has little to say."""
    with Network(3) as network, Mesh(3, network=network) as mesh:
        wire = subscribe_all(mesh[0], NAMES)
        for node in mesh:
            eventually(20, lambda: node.call("PUBLISH", NAMES[-1], "") == 1)
        wire.waiting(0.1)
        before = received(mesh[1])
        for here, there in ((0, 1), (1, 0)):
            run("-n", network.name(here), "route", "add", "blackhole",
                network.address(there) + "/32")
        time.sleep(6)
        change = Change(wire)
        took = eventually(3, change.last_is_known, mesh[1])
        note("one link of three cut: 200 changes came another way after", took)
        for here, there in ((0, 1), (1, 0)):
            run("-n", network.name(here), "route", "del", "blackhole",
                network.address(there) + "/32")
        eventually(15, lambda: mesh[0].id in [row["peer"] for row in mesh[1].rows("MESH.LINKS")])
        time.sleep(2)
        bytes = received(mesh[1]) - before
        note("… bytes received in all, over 8 s and the restored link", "%d" % bytes)
        assert bytes < 2 * CHANGES_MAX
        change.check(mesh[1])
        for node in mesh:
            assert node.metric("smallworld_deaths_total") == 0
