"""Users: 5 × 200 of them, each written to from every node, each coming and going watched."""
import random
import time

import pytest

from mesh import eventually, note, steadily
from resp import Failure, Push, encode

pytestmark = pytest.mark.mesh
NODES = range(5)
PER_NODE = 200


def user(node, number):
    """Names are arbitrary bytes."""
    return b"user\0\r\n\xfe%d:%d" % (node, number)


EVERYONE = [user(i, k) for i in NODES for k in range(PER_NODE)]


def attach(node, name, protocol=3):
    wire = node.wire(protocol)
    reply = wire.call("MESH.ATTACH", name)
    assert not isinstance(reply, Failure), reply
    return wire


def delivery(value):
    """(user, payload) of what a user's connection receives: a push, or an array in RESP2."""
    assert isinstance(value, list) and value[0] == b"user" and len(value) == 3, value
    return value[1], value[2]


def presence(value):
    """(user, is online) of what a watcher receives."""
    assert isinstance(value, list) and value[0] == b"presence" and len(value) == 3, value
    assert value[2] in (b"online", b"offline"), value
    return value[1], value[2] == b"online"


def watch(node, names, protocol=3):
    """A watcher, and what it was told of the present: {user: is online}."""
    wire = node.wire(protocol)
    wire.send(encode("MESH.WATCH", *names))
    for number, name in enumerate(names):
        assert wire.read() == [b"watch", name, number + 1]
    present = dict(presence(wire.read()) for _ in names)
    assert set(present) == set(names)
    return wire, present


def seen(wire, count, within):
    """The next `count` presence frames, and the seconds until the last came."""
    start = time.monotonic()
    frames = [presence(wire.read(max(within - (time.monotonic() - start), 0.01)))
              for _ in range(count)]
    return frames, time.monotonic() - start


@pytest.mark.deadline(150)
def test_a_thousand_users_come_are_written_to_from_everywhere_and_go(five):
    watchers = []
    for node in five:
        wire, present = watch(node, EVERYONE, protocol=2 + node.index % 2)
        assert not any(present.values())
        watchers.append(wire)

    start = time.monotonic()
    users = {user(i, k): attach(five[i], user(i, k), 2 + k % 2)
             for i in NODES for k in range(PER_NODE)}
    for wire in watchers:
        frames, _ = seen(wire, len(EVERYONE), 10)
        assert sorted(frames) == sorted((name, True) for name in EVERYONE), "each comes once"
    note("1,000 users attached, seen by a watcher on every node after", time.monotonic() - start)

    for node in five:
        eventually(5, lambda: node.call("MESH.ONLINE", *EVERYONE) == [1] * len(EVERYONE))
        assert node.call("MESH.ONLINE", "nobody", EVERYONE[0], "nobody") == [0, 1, 0]

    start = time.monotonic()
    for node in five:
        wire = node.wire(2)
        for round in range(2):
            wire.send(b"".join(encode("MESH.SEND", name, b"%d.%d\0\r\n%s" % (
                node.index, round, name)) for name in EVERYONE))
            for name in EVERYONE:
                assert wire.reply() == 1, "MESH.SEND on %r to %r" % (node, name)
        wire.close()
    for name, wire in users.items():
        got = {}
        for _ in range(10):
            to, payload = delivery(wire.read(10))
            assert to == name
            got.setdefault(payload[:1], []).append(payload)
        assert got == {b"%d" % i: [b"%d.%d\0\r\n%s" % (i, round, name) for round in range(2)]
                       for i in NODES}, name
    note("10,000 messages to users, in order, in", time.monotonic() - start)
    for name in random.Random(3).sample(EVERYONE, 50):
        assert users[name].waiting(0.01) == [], "delivered twice"

    start = time.monotonic()
    for number, wire in enumerate(users.values()):
        # Half detach, half just end.
        if number % 2:
            assert wire.call("MESH.DETACH") == 1
        wire.close()
    for wire in watchers:
        frames, _ = seen(wire, len(EVERYONE), 10)
        assert sorted(frames) == sorted((name, False) for name in EVERYONE), "each goes once"
        assert wire.waiting(0.3) == []
        wire.close()
    note("1,000 users gone, seen by a watcher on every node after", time.monotonic() - start)
    for node in five:
        assert node.call("MESH.ONLINE", *EVERYONE) == [0] * len(EVERYONE)
        sender = node.wire(2)
        sender.send(b"".join(encode("MESH.SEND", name, "x") for name in EVERYONE))
        assert [sender.reply() for _ in EVERYONE] == [0] * len(EVERYONE)
        sender.close()


def test_a_user_may_have_many_connections_on_many_nodes(five):
    wires = {2: [attach(five[2], "many"), attach(five[2], "many", 2)], 4: [attach(five[4], "many")]}
    for node in five:
        eventually(5, lambda: len(node.call("MESH.WHERE", "many")) == 2)
        assert node.call("MESH.SEND", "many", b"from %d" % node.index) == 2, "nodes, not sessions"
    for wire in [*wires[2], *wires[4]]:
        got = sorted(delivery(wire.read())[1] for _ in NODES)
        assert got == [b"from %d" % i for i in NODES]
        assert wire.waiting(0.1) == []
    watcher, present = watch(five[0], [b"many"])
    assert present == {b"many": True}
    for wire in (wires[2][0], wires[4][0]):
        wire.close()
    eventually(5, lambda: five[0].call("MESH.SEND", "many", "x") == 1)
    assert watcher.waiting(0.5) == [], "a connection is left"
    wires[2][1].close()
    assert seen(watcher, 1, 3)[0] == [(b"many", False)]


def test_where_names_the_nodes(five):
    wire = attach(five[3], "somewhere")
    for node in five:
        def named():
            rows = node.call("MESH.WHERE", "somewhere")
            assert len(rows) == 1, rows
            row = {rows[0][i]: rows[0][i + 1] for i in range(0, len(rows[0]), 2)}
            assert row[b"name"] == b"node-3" and row[b"id"].decode() == five[3].id, row
        eventually(5, named)
        assert node.call("MESH.WHERE", "nowhere") == []
    wire.close()


def test_an_attached_connection_still_is_a_redis_connection(five):
    wire = attach(five[1], "both", 3)
    assert wire.call("PING") == b"PONG"
    wire.send(encode("SUBSCRIBE", "as well"))
    assert wire.read() == [b"subscribe", b"as well", 1]
    eventually(5, lambda: five[0].call("PUBSUB", "NUMSUB", "as well") == [b"as well", 1])
    assert five[0].call("PUBLISH", "as well", "a") == 1
    assert wire.read() == [b"message", b"as well", b"a"]
    eventually(5, lambda: five[0].call("MESH.SEND", "both", "b") == 1)
    frame = wire.read()
    assert isinstance(frame, Push) and delivery(frame) == (b"both", b"b")
    # To itself: the reply comes before the push.
    wire.send(encode("MESH.SEND", "both", "self"))
    assert wire.read() == 1 and delivery(wire.read()) == (b"both", b"self")
    wire.close()


def test_names_are_up_to_512_arbitrary_bytes(five):
    name = bytes(range(256)) * 2
    wire = attach(five[0], name)
    eventually(5, lambda: five[4].call("MESH.ONLINE", name) == [1])
    assert five[4].call("MESH.SEND", name, "x") == 1
    assert delivery(wire.read()) == (name, b"x")
    wire.close()
    for words in (["MESH.ATTACH", name + b"x"], ["MESH.SEND", name + b"x", "y"],
                  ["MESH.WATCH", name + b"x"], ["MESH.ATTACH"], ["MESH.SEND", "a"],
                  ["MESH.ONLINE"], ["MESH.WHERE"], ["MESH.WHERE", "a", "b"], ["MESH.WATCH"]):
        assert isinstance(five[4].call(*words), Failure), words


def test_a_short_absence_is_not_told(five):
    """A reconnect, also on another node, must not flicker."""
    first = attach(five[0], "flicker")
    watcher, _ = watch(five[3], [b"flicker"])
    eventually(5, lambda: five[3].call("MESH.ONLINE", "flicker") == [1])
    watcher.waiting(0.3)
    second = attach(five[1], "flicker")
    first.close()
    steadily(0.5, lambda: five[2].call("MESH.SEND", "flicker", "x") >= 1)
    assert watcher.waiting(0.3) == []
    second.close()
    assert seen(watcher, 1, 3)[0] == [(b"flicker", False)]


def test_unwatch(five):
    watcher, _ = watch(five[3], [b"w1", b"w2"])
    watcher.send(encode("MESH.UNWATCH", "w1"))
    assert watcher.read() == [b"unwatch", b"w1", 1]
    one, two = attach(five[0], "w1"), attach(five[0], "w2")
    frames = [presence(value) for value in watcher.waiting(0.5)]
    assert frames == [(b"w2", True)]
    one.close()
    two.close()


def test_trace_tells_each_hop(five):
    wire = attach(five[4], "traced")
    eventually(5, lambda: five[0].call("MESH.ONLINE", "traced") == [1])
    for node in five:
        reply = node.call("MESH.TRACE", "USER", "traced", timeout=5)
        assert len(reply) == 1, reply
        row = {reply[0][i]: reply[0][i + 1] for i in range(0, len(reply[0]), 2)}
        assert row[b"holder"] == b"node-4", row
        # Five nodes are a full mesh: there is one hop, and none to oneself.
        assert row[b"hops"] == (0 if node is five[4] else 1), row
    assert five[0].call("MESH.TRACE", "USER", "nobody", timeout=5) == []
    assert five[0].call("MESH.TRACE", "CHANNEL", "traced", timeout=5) == []
    assert isinstance(five[0].call("MESH.TRACE", "NONSENSE", "traced", timeout=5), Failure)
    wire.close()
