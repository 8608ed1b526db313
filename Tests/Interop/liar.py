"""Members of the mesh that lie: they shake hands as any node does, heartbeat, and say what they are told to.

A case whose liar was refused has not run: `established` fails the test then.
"""
import random
import socket
import struct
import threading
import time

import pytest

import peer as wire
from peer import LINK, arc, frame, link, member, short

ACKNOWLEDGE, SKIP = 20, 21
USER_KEY, ROOM_KEY, CHANNEL_KEY, SHARD_KEY, PATTERN_KEY = 1, 2, 3, 4, 5
ADD_KEY, REMOVE_KEY, ADD_PATTERN, REMOVE_PATTERN = 0, 1, 2, 3
INTRODUCED = 8
LAST_POSITION = (1 << 48) - 1
M64 = (1 << 64) - 1


# ---- the cluster's hash


def siphash13(k0, k1, prefix, data):
    """SipHash-1-3 of a byte and then `data`; the last byte of the length is that of `data`."""
    v = [k0 ^ 0x736f6d6570736575 ^ prefix << 56, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
         k1 ^ 0x7465646279746573]

    def turn(value, count):
        return (value << count | value >> 64 - count) & M64

    def rounds(count):
        for _ in range(count):
            v[0] = v[0] + v[1] & M64
            v[1] = turn(v[1], 13) ^ v[0]
            v[0] = turn(v[0], 32)
            v[2] = v[2] + v[3] & M64
            v[3] = turn(v[3], 16) ^ v[2]
            v[0] = v[0] + v[3] & M64
            v[3] = turn(v[3], 21) ^ v[0]
            v[2] = v[2] + v[1] & M64
            v[1] = turn(v[1], 17) ^ v[2]
            v[2] = turn(v[2], 32)

    end = len(data) // 8 * 8
    last = (len(data) & 0xFF) << 56
    for shift, byte in enumerate(data[end:]):
        last |= byte << 8 * shift
    for word in [struct.unpack_from("<Q", data, at)[0] for at in range(0, end, 8)] + [last]:
        v[3] ^= word
        rounds(1)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(3)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def key_of(kind, name, cluster=b"smallworld"):
    """The key of a name, as any member learns to compute it."""
    derive = (0x736d616c6c776f72, 0x6c6420636c757374)
    keys = siphash13(*derive, 1, cluster), siphash13(*derive, 2, cluster)
    return siphash13(*keys, kind, name) & LAST_POSITION


# ---- messages


def members(records, repair=False):
    return link(wire.MEMBERS, struct.pack("<BH", repair, len(records)) + b"".join(records))


def records(origin, life, first, items, repair=False):
    """The content of a records message: items are (operation, key[, pattern])."""
    out = [bytes([wire.RECORDS]), struct.pack("<QQQBH", origin, life, first, repair, len(items))]
    for item in items:
        out.append(struct.pack("<BIH", item[0], item[1] & 0xFFFFFFFF, item[1] >> 32))
        if item[0] == ADD_PATTERN:
            out.append(struct.pack("<H", len(item[2])) + item[2])
    return b"".join(out)


def empty_set(origin, life, sequence):
    """A snapshot of a node that has nothing."""
    return link(wire.SNAPSHOT, struct.pack(
        "<QQQQQB", origin, life, sequence, 0, LAST_POSITION, 1) + b"\0\0" + struct.pack("<H", 0))


def control(origin, destination, number, content=b""):
    return wire.routed(origin, [destination], b"", bytes([number]) + content, body=wire.CONTROL)


def message(origin, destination, sequence, name, payload, number=0, body=wire.CHANNEL):
    """A client's message with its number in the flow."""
    content = struct.pack("<QQIHH", origin, key_of(CHANNEL_KEY, name) | 1 << 48, number, len(name), 0)
    content += struct.pack("<QII", destination, sequence, 0xFFFFFFFF)
    return frame(wire.ROUTED, content + name + payload, hops_left=48, body=body)


def link_list(owner, incarnation, version, linked):
    return link(wire.LINK_LISTS, struct.pack("<HQQIBH", 1, owner, incarnation, version, 1, len(linked))
                + b"".join(struct.pack("<Q", id) for id in linked))


def now_incarnation(ahead_ms=0):
    return int(time.time() * 1000) + ahead_ms << 16


def false_address(source=random):
    return ("127.%d.%d.%d" % (source.randrange(1, 250), source.randrange(256),
                              source.randrange(1, 250)), source.randrange(1024, 65_000))


def identity(node):
    """(id, incarnation) of a real node."""
    own = next(row for row in node.rows("MESH.MEMBERS") if row["self"])
    return int(own["id"], 16), own["incarnation"] & M64


# ---- liars


class Liar(wire.Peer):
    """One connection of a member that lies. It reads and heartbeats on a thread of its own."""

    def __init__(self, greeting, connection, id=None, incarnation=None, address=None,
                 name=b"liar"):
        super().__init__(connection)
        self.greeting = greeting
        self.id = random.getrandbits(63) | 1 << 62 if id is None else id
        self.incarnation = now_incarnation() if incarnation is None else incarnation
        self.address = address or false_address()
        self.name = name
        self.peer_id = self.peer_incarnation = None
        self.digest = 0
        self.has_ended = threading.Event()
        self.lock = threading.Lock()

    @property
    def life(self):
        return self.incarnation >> 16

    def record(self, **other):
        return member(self.id, self.incarnation, address=self.address, name=self.name, **other)

    def say(self, data):
        with self.lock:
            return self.send(data)

    def hello(self, purpose, stratum=0, number=wire.HELLO):
        self.say(link(number, self.greeting.encode(purpose, self.record(), stratum=stratum)))

    def established(self, timeout=5):
        """Waits until the link stands, and keeps it. A liar that is refused fails the test."""
        deadline = time.monotonic() + timeout
        while True:
            kind, number, content = self.read(max(deadline - time.monotonic(), 0))
            if kind == LINK and number == wire.REFUSE:
                pytest.fail("the liar was refused (%d): the case has not run" % content[0])
            if kind == LINK and number == wire.WELCOME:
                break
        self.met(content)
        self.keep()
        return self

    def met(self, content):
        other = wire.Greeting(content)
        self.peer_id, self.peer_incarnation = other.id, other.incarnation

    def keep(self):
        threading.Thread(target=self.run, daemon=True).start()
        # Of use to it: or else the link would end.
        self.say(link(wire.ROLE, b"\x0f"))

    def run(self):
        last = 0
        try:
            while True:
                if time.monotonic() - last > 0.3:
                    last = time.monotonic()
                    self.say(link(wire.HEARTBEAT, struct.pack(
                        "<QIII", self.digest, int(time.time() * 1e6) & 0xFFFFFFFF or 1, 0, 0)))
                try:
                    kind, number, content = self.read(0.1)
                except TimeoutError:
                    continue
                if kind == LINK and number == wire.HEARTBEAT:
                    self.digest, = struct.unpack_from("<Q", content)
                self.heard(kind, number, content)
        except (OSError, ConnectionError, ValueError):
            self.has_ended.set()

    def heard(self, kind, number, content):
        """For liars that answer."""

    def close(self):
        super().close()
        self.has_ended.set()


def linked(node, greeting, purpose=wire.NEIGHBOUR, **who):
    """A liar that is linked with `node`, which cannot dial it."""
    liar = Liar(greeting, node.connect("mesh"), **who)
    liar.hello(purpose)
    return liar.established()


class Host:
    """A liar that can be dialled: it answers every hello, and is linked with whoever wants to.

    `answer(liar, content)` may answer a hello otherwise; true: it has.
    """

    def __init__(self, greeting, answer=None, linked_with=(), **who):
        self.greeting, self.answer, self.linked_with, self.who = greeting, answer, linked_with, who
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.who.setdefault("id", random.getrandbits(63) | 1 << 62)
        self.who.setdefault("incarnation", now_incarnation())
        self.who["address"] = self.listener.getsockname()
        self.links, self.dials = [], 0
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def id(self):
        return self.who["id"]

    @property
    def life(self):
        return self.who["incarnation"] >> 16

    def record(self):
        return member(self.id, self.who["incarnation"], address=self.who["address"],
                      name=self.who.get("name", b"liar"))

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.dials += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        liar = Liar(self.greeting, connection, **self.who)
        try:
            content = liar.expect(wire.HELLO, 5)
            liar.met(content)
            if self.answer and self.answer(liar, content):
                return
            size = content[12]
            purpose, stratum = content[21 + size], content[22 + size]
            liar.hello(purpose, stratum, number=wire.WELCOME)
            if purpose == wire.INTRODUCE:
                liar.say(members([self.record()], True))
                liar.say(link(wire.REFUSE, struct.pack("<BQQ", INTRODUCED, 0, 0)))
                return
            liar.keep()
            if self.linked_with:
                liar.say(link_list(self.id, self.who["incarnation"], 1, self.linked_with))
            self.links.append(liar)
        except (OSError, ConnectionError, TimeoutError):
            pass

    def join(self, node):
        """A link with `node`, which this liar dials."""
        liar = Liar(self.greeting, node.connect("mesh"), **self.who)
        liar.hello(wire.NEIGHBOUR)
        liar.established()
        self.links.append(liar)
        return liar

    def end(self):
        """As a process that is killed."""
        try:
            # Or else the thread that waits keeps it open.
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for liar in self.links:
            try:
                liar.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            liar.close()
