"""Rooms on real nodes: who is in them, what is said, what is ordered, and what becomes of all that when a
node dies; and the same on the command line."""
import json
import signal
import subprocess
import time

import pytest

import mesh as harness
from mesh import Mesh, eventually, note, text
from resp import encode

pytestmark = pytest.mark.mesh
NODES = range(5)
#: Users of one connection, which all join one room.
MANY = 2_000


def attached(node, *users, protocol=3):
    """A connection that is attached as these users."""
    wire = node.wire(protocol)
    for user in users:
        assert wire.call("MESH.ATTACH", user) == b"OK"
    return wire


def said(value, room):
    """The payload of what a member of the room receives."""
    assert isinstance(value, list) and value[:2] == [b"room", room] and len(value) == 3, value
    return value[2]


def who(wire, room, limit=1_000):
    """All members, page by page, as (user, sid, node, metadata); nobody may be missing."""
    members, place = [], None
    while True:
        more = ["AFTER", place] if place else []
        page, place, missing = wire.call("MESH.WHO", room, "LIMIT", limit, *more)
        assert missing == []
        members += [tuple(member) for member in page]
        if not isinstance(place, bytes):
            return members


def pipelined(wire, commands):
    """The replies to commands that are sent all together."""
    replies = []
    for start in range(0, len(commands), 500):
        part = commands[start:start + 500]
        wire.send(b"".join(encode(*words) for words in part))
        replies += [wire.read() for _ in part]
    return replies


def test_what_is_said_reaches_each_member_once_and_in_order(five):
    room = b"lobby\0\r\n\xfe"
    members = [attached(five[i], "u%d" % i, protocol=2 + i % 2) for i in NODES]
    for wire in members:
        assert wire.call("MESH.JOIN", room) == 1
    speakers = [five[i].wire(3) for i in NODES]
    for number in range(200):
        for sender in NODES:
            assert speakers[sender].call("MESH.SAY", room, "%d %d" % (sender, number)) == 5
    for wire in members:
        heard = [said(wire.read(), room).split() for _ in range(200 * len(NODES))]
        for sender in NODES:
            numbers = [int(number) for origin, number in heard if int(origin) == sender]
            assert numbers == list(range(200))
    # One that is in the room and speaks hears itself if it asks for that alone.
    assert members[1].call("MESH.SAY", room, "mine") == 4
    assert members[1].call("MESH.SAY", room, "echoed", "ECHO") == 5
    assert said(members[1].read(), room) == b"echoed"
    for wire in (members[0], *members[2:]):
        assert [said(wire.read(), room) for _ in range(2)] == [b"mine", b"echoed"]
    for wire in members:
        assert wire.call("MESH.LEAVE") == 1
    assert speakers[0].call("MESH.SAY", room, "x") == 0


def test_an_order_and_then_a_word_reaches_whom_the_answer_counts(five):
    """The word is said at another node than the order was given at, without a pause."""
    bobs = [attached(five[i], "bob") for i in (1, 2, 2, 3)]
    teller, speakers = five[0].wire(3), [five[i].wire(3) for i in NODES]
    for number in range(300):
        room = "r%d" % number
        count = teller.call("MESH.ORDER", "bob", "JOIN", room)
        assert count == len(bobs), count
        assert speakers[number % 5].call("MESH.SAY", room, number) == 3
        for bob in bobs:
            assert bob.read() == [b"order", b"bob", b"JOIN", room.encode()]
            assert said(bob.read(), room.encode()) == b"%d" % number
    assert teller.call("MESH.KICK", "bob", "REASON", "late") == len(bobs)
    assert bobs[0].read() == [b"order", b"bob", b"KICK", b"late"]
    assert teller.call("MESH.ROOMSOF", "bob") == []
    assert teller.call("MESH.COUNT", "r0") == [0, 0, []]


def test_a_large_room_is_listed_in_pages_and_counted(five):
    """Ten thousand members at five nodes, of connections that stand for very many users."""
    services = []
    for node in NODES:
        wire = five[node].wire(3)
        users = ["%d-%04d" % (node, number) for number in range(MANY)]
        assert set(pipelined(wire, [("MESH.ATTACH", user) for user in users])) == {b"OK"}
        joins = [("MESH.JOIN", "hall", "AS", user, "META", user[::-1]) for user in users]
        assert set(pipelined(wire, joins)) == {1}
        services.append(wire)
    asker = five[3].wire(3)
    start = time.monotonic()
    members = who(asker, "hall")
    listed = time.monotonic() - start
    expected = ["%d-%04d" % (node, number) for node in NODES for number in range(MANY)]
    assert [member[0].decode() for member in members] == expected
    assert all(member[3] == member[0][::-1] for member in members)
    assert [member[2] for member in members[::MANY]] == [b"node-%d" % node for node in NODES]
    assert len({member[1] for member in members}) == len(members)
    start = time.monotonic()
    assert asker.call("MESH.COUNT", "hall") == [5 * MANY, 5 * MANY, []]
    counted = time.monotonic() - start
    # Each connection gets it once, whatever users it stands for.
    assert asker.call("MESH.SAY", "hall", "hi") == 5
    for wire in services:
        assert said(wire.read(), b"hall") == b"hi"
        assert wire.call("MESH.LEAVE") == 1
    assert asker.call("MESH.COUNT", "hall") == [0, 0, []]
    note("MESH.WHO, all pages of 10,000 members at 5 nodes", "%.0f ms" % (listed * 1e3))
    note("MESH.COUNT of them", "%.1f ms" % (counted * 1e3))
    assert listed < 2 and counted < 0.2


def test_members_of_a_dead_node_leave_and_nobody_waits_for_it():
    with Mesh(4) as nodes:
        wires = [attached(nodes[i], "u%d" % i) for i in range(4)]
        for wire in wires:
            assert wire.call("MESH.JOIN", "lobby") == 1
        assert len(who(wires[0], "lobby")) == 4
        nodes[3].kill()
        start = time.monotonic()
        eventually(5, lambda: wires[0].call("MESH.COUNT", "lobby") == [3, 3, []])
        assert [member[0] for member in who(wires[1], "lobby")] == [b"u0", b"u1", b"u2"]
        note("a dead node's members are gone after", "%.0f ms" % ((time.monotonic() - start) * 1e3))
        # One that stands still is named, and does not hold up the answer for more than a second.
        nodes[2].freeze()
        start = time.monotonic()
        page, place, missing = wires[0].call("MESH.WHO", "lobby")
        assert time.monotonic() - start < 2
        assert [member[0] for member in page] == [b"u0", b"u1"] and missing == [b"node-2"]
        nodes[2].thaw()
        eventually(10, lambda: wires[0].call("MESH.COUNT", "lobby") == [3, 3, []])


class Watcher:
    """A connection that watches a room, and who is there by what it was told."""

    def __init__(self, node, room, protocol):
        self.wire, self.room = node.wire(protocol), room
        self.members, self.whole, self.reasons, self.pushes = {}, {}, {}, 0
        self.wire.send(encode("MESH.WATCHROOM", room))
        assert self.wire.read() == [b"watchroom", room, 1]

    def take(self):
        """Takes one push."""
        word, room, state, count, joined, left = self.wire.read()
        assert (word, room) == (b"roster", self.room) and state != b"count"
        self.pushes += 1
        members = self.members if state == b"change" else self.whole
        for user, sid, metadata in joined:
            members[sid] = (user, metadata if isinstance(metadata, bytes) else None)
        for user, sid, reason in left:
            assert members.pop(sid)[0] == user
            self.reasons[user] = reason
        if state == b"all":
            self.members, self.whole = self.whole, {}
        if state != b"more":
            assert len(self.members) == count

    def until(self, users):
        """Takes pushes until these users are there, and no others."""
        while sorted(user for user, _ in self.members.values()) != sorted(users):
            self.take()


def test_watchers_of_a_room_are_told_of_all_that_come_and_go():
    """Rosters at four nodes: joins, metadata, departures of each kind, and a node that is killed."""
    with Mesh(4) as nodes:
        room = b"hall\0\r\n"
        watchers = [Watcher(nodes[i], room, 2 + i % 2) for i in range(3)]
        wires = {}
        for number in range(24):
            user = b"u%d" % number
            wires[user] = attached(nodes[number % 4], user)
            assert wires[user].call("MESH.JOIN", room, "META", user[::-1]) == 1
        for watcher in watchers:
            watcher.until(wires)
            assert all(metadata == user[::-1] for user, metadata in watcher.members.values())
        # One that comes later gets all at once.
        late = Watcher(nodes[1], room, 3)
        late.take()
        assert late.members == watchers[0].members
        watchers.append(late)
        assert wires[b"u0"].call("MESH.LEAVE") == 1
        wires[b"u1"].close()
        assert wires[b"u2"].call("MESH.KICK", "u6") == 1
        gone = {b"u0": b"quit", b"u1": b"lost", b"u6": b"kicked"}
        for watcher in watchers:
            watcher.until(set(wires) - set(gone))
            assert watcher.reasons == gone
        nodes[3].kill()
        start = time.monotonic()
        dead = {b"u%d" % number: b"node" for number in range(3, 24, 4)}
        for watcher in watchers:
            watcher.until(set(wires) - set(gone) - set(dead))
            assert watcher.reasons == {**gone, **dead}
        note("a dead node's members are told gone after",
             "%.0f ms" % ((time.monotonic() - start) * 1e3))
        with_room = cli(nodes[0], "watch", "--room", "none", "x", "--count", "1")
        assert (with_room.stdout, with_room.returncode) == ("x offline\n", 0)
        wire = attached(nodes[2], "cli")
        assert wire.call("MESH.JOIN", "cli-hall", "META", "m") == 1
        shown = cli(nodes[0], "watch", "--room", "cli-hall", "--count", "1", "--json")
        line = json.loads(shown.stdout)
        assert [line[key] for key in ("room", "is", "user", "metadata")] == [
            "cli-hall", "here", "cli", "m"]


def cli(node, *words, **options):
    return subprocess.run(
        [harness.BINARY, *words, "--redis", text(node.addresses["redis"])], capture_output=True,
        text=True, timeout=20, **options)


def test_the_command_line_does_the_same(five):
    listener = subprocess.Popen(
        [harness.BINARY, "sub", "cli-news", "--pattern", "cli-t*", "--room", "cli-lobby", "--user",
         "cli-ann", "--redis", text(five[1].addresses["redis"])],
        stdout=subprocess.PIPE, text=True)
    watcher = subprocess.Popen(
        [harness.BINARY, "watch", "cli-ann", "--json", "--count", "2", "--redis",
         text(five[2].addresses["redis"])], stdout=subprocess.PIPE, text=True)
    try:
        eventually(10, lambda: cli(five[3], "who", "cli-lobby").returncode == 0)
        asked = five[0].wire(3)
        eventually(10, lambda: asked.call("PUBSUB", "NUMSUB", "cli-news") == [b"cli-news", 1])
        assert cli(five[3], "pub", "cli-news", "one two").stdout == "1\n"
        lines = cli(five[3], "say", "cli-lobby", input="a\nb\n")
        assert (lines.stdout, lines.returncode) == ("1\n1\n", 0)
        sent = cli(five[4], "send", "cli-ann", "x", "--json")
        assert json.loads(sent.stdout) == {"user": "cli-ann", "nodes": 1}
        assert cli(five[0], "pub", "cli-talk", "y").stdout == "1\n"
        heard = [listener.stdout.readline().rstrip("\n") for _ in range(5)]
        assert sorted(heard) == ["channel cli-news one two", "channel cli-talk y",
                                 "room cli-lobby a", "room cli-lobby b", "user cli-ann x"]
        member = json.loads(cli(five[0], "who", "cli-lobby", "--json").stdout)
        assert (member["user"], member["node"]) == ("cli-ann", "node-1")
        nobody = cli(five[0], "send", "cli-nobody", "x")
        assert (nobody.stdout, nobody.returncode) == ("0\n", 1)
        assert cli(five[0], "who", "cli-nowhere").returncode == 1
        for words in (["pub"], ["sub"], ["watch"], ["who"], ["send", "a", "b", "c"]):
            wrong = cli(five[0], *words)
            assert wrong.returncode == 64 and len(wrong.stderr.splitlines()) == 1, wrong
        listener.send_signal(signal.SIGTERM)
        assert listener.wait(10) == 0
        seen = [json.loads(line) for line in watcher.stdout]
        assert watcher.wait(10) == 0
        assert [(line["user"], line["online"]) for line in seen] in (
            [("cli-ann", 1), ("cli-ann", 0)], [("cli-ann", 0), ("cli-ann", 1)])
    finally:
        for process in (listener, watcher):
            process.kill()
            process.wait()
    assert "cannot connect" in subprocess.run(
        [harness.BINARY, "who", "x", "--redis", "127.0.0.1:1"], capture_output=True, text=True,
        timeout=20).stderr


def test_a_program_that_reads_and_writes_lines_is_a_provider(five):
    provider = subprocess.Popen(
        [harness.BINARY, "serve", "cli-sum", "--redis", text(five[1].addresses["redis"])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        nobody = cli(five[0], "request", "cli-none", "x")
        assert (nobody.stdout, nobody.returncode) == ("", 1) and "NOSERVICE" in nobody.stderr
        asker = subprocess.Popen(
            [harness.BINARY, "request", "cli-sum", "--wait", "--redis",
             text(five[3].addresses["redis"])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        asker.stdin.write("1 2\n3 4\n")
        asker.stdin.close()
        for _ in range(2):
            numbers = provider.stdout.readline().split()
            provider.stdin.write("%d\n" % sum(map(int, numbers)))
            provider.stdin.flush()
        assert asker.stdout.read() == "3\n7\n" and asker.wait(10) == 0
        late = cli(five[2], "request", "cli-sum", "5", "--timeout", "200")
        assert late.returncode == 1 and "TIMEOUT" in late.stderr
        # Its answer to that comes too late, and it goes on.
        assert provider.stdout.readline() == "5\n"
        provider.stdin.write("x\n")
        provider.stdin.flush()
        again = subprocess.Popen(
            [harness.BINARY, "request", "cli-sum", "6", "--redis",
             text(five[4].addresses["redis"])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert provider.stdout.readline() == "6\n"
        # No answer comes, because there is nothing more to read.
        provider.stdin.close()
        assert provider.wait(10) == 0
        assert again.wait(10) == 1 and "DIED" in again.stderr.read()
    finally:
        provider.kill()
        provider.wait()
