"""A hundred thousand channels on one node: another joins, a link is cut. The issue's point 6."""
import socket
import time

import pytest

from mesh import Mesh, eventually, note, subscribed
from namespaces import Network
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
        note("… received for it", "%d bytes" % metrics["smallworld_received_bytes_total"])
        assert metrics["smallworld_directory_entries"] == COUNT
        connection.close()


@pytest.mark.parametrize("seconds", [1.0, 2.5, 8.0])
def test_a_restored_link_sends_again_only_what_changed(seconds):
    """Cut for 1 s nobody notices; for 2.5 s the link is lost; for 8 s each takes the other for
    dead. What comes again is what changed meanwhile, never the table."""
    with Network(2) as network, Mesh(2, network=network) as mesh:
        here, there = mesh[0], mesh[1]
        wire = subscribe_all(here, NAMES)
        eventually(20, lambda: there.call("PUBSUB", "NUMSUB", NAMES[-1]) == [NAMES[-1], 1])
        whole = there.metrics()["smallworld_received_bytes_total"]
        time.sleep(1)

        network.cut([0], [1])
        time.sleep(seconds)
        fresh = [b"fresh:%d" % number for number in range(100)]
        subscribed(wire, "SUBSCRIBE", *fresh)
        subscribed_no_more = NAMES[::1000]
        wire.send(encode("UNSUBSCRIBE", *subscribed_no_more))
        for name in subscribed_no_more:
            assert wire.read()[1] == name
        before = there.metrics()
        network.heal()

        def right():
            for names, count in ((fresh, 1), (subscribed_no_more, 0), (NAMES[1:90_000:1000], 1)):
                assert there.call("PUBSUB", "NUMSUB", *names) == [
                    word for name in names for word in (name, count)]

        took = eventually(10, right)
        after = there.metrics()
        assert after["smallworld_directory_entries"] == COUNT
        bytes = after["smallworld_received_bytes_total"] - before["smallworld_received_bytes_total"]
        note("cut for %.1f s: 200 of 100,000 changed, right again after" % seconds, took)
        note("… bytes received, of them directory repair", "%d, %d (the whole table: %d)" % (
            bytes, after["smallworld_record_bytes_repaired_total"]
            - before["smallworld_record_bytes_repaired_total"], whole))
        # 200 records of 7 bytes, twice for the questions around them, and heartbeats.
        assert bytes < 20_000, "%d bytes for 200 changes" % bytes
        steady = [b"again:%d" % number for number in range(10)]
        subscribed(wire, "SUBSCRIBE", *steady)
        eventually(2, lambda: there.call("PUBLISH", steady[-1], "x") == 1)
