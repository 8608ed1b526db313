"""Nothing is allocated per message, counted in real nodes by a library in front of malloc.

`smallworld-bench --check` proves it for the parts without a system call; here are the reactor,
its sockets and its timers too: from the publisher's bytes to the link's, through a node in
between, and from the link's to the subscriber's.
"""
import os
import struct
import threading
import time

import pytest

from mesh import HERE, Mesh, eventually, note, subscribed
from processes import compiled
from resp import encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(120)]
COUNT = 100_000
BATCH = 64
#: Heartbeats, coordinates and the test's own questions allocate (some 40 a second); messages must
#: not.
PER_SECOND = 100


class Counted:
    def __init__(self, folder, node, library):
        self.path = os.path.join(folder, "allocations-%d" % node.index)
        with open(self.path, "wb") as file:
            file.write(bytes(4096))
        node.prefix = ["env", "LD_PRELOAD=" + library, "ALLOCATIONS=" + self.path]

    def count(self):
        with open(self.path, "rb") as file:
            return struct.unpack("<Q", file.read(8))[0]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """Eight nodes with four links each, whose allocations are counted: (mesh, [Counted])."""
    library = compiled(os.path.join(HERE, "allocations.c"), str(tmp_path_factory.mktemp("count")))
    with Mesh(extra=["--degree", "4"]) as mesh:
        counted = []
        for index in range(8):
            node = mesh.add(seeds=[mesh[0].mesh] if index else [])
            counted.append(Counted(mesh.folder, node, library))
            node.start().wait_listening()
        mesh.wait_ready()
        mesh.wait_members()
        mesh.wait_links_settled()
        yield mesh, counted


def flood(wire, command, reply, count):
    """Publishes in batches, each answered before the next."""
    batch, answers = command * BATCH, len(reply) * BATCH
    for _ in range(count // BATCH):
        wire.socket.sendall(batch)
        left = answers
        while left > 0:
            left -= len(wire.socket.recv(left))


class Reader:
    """Counts the bytes that a subscriber gets."""

    def __init__(self, wire):
        self.wire = wire
        self.bytes = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        chunk = bytearray(1 << 18)
        try:
            while count := self.wire.socket.recv_into(chunk):
                self.bytes += count
        except OSError:
            pass


@pytest.mark.parametrize("kind", ["channel", "user"])
def test_messages_allocate_nothing_on_their_way(sparse, kind):
    mesh, counted = sparse
    names = {node.status()["name"]: node.index for node in mesh}
    readers = {}
    for node in mesh:
        wire = node.wire(2, timeout=100)
        if kind == "channel":
            subscribed(wire, "SUBSCRIBE", "to %d" % node.index)
        else:
            wire.call("MESH.ATTACH", "to %d" % node.index)
        readers[node.index] = wire

    def path(index):
        rows = mesh[0].call("MESH.TRACE", kind.upper(), "to %d" % index)
        if not rows:
            return []
        fields = dict(zip(rows[0][::2], rows[0][1::2]))
        return [names[hop.decode()] for hop in fields[b"path"]]

    eventually(5, lambda: all(path(node.index) for node in mesh if node.index))
    far = next(node.index for node in mesh if len(path(node.index)) == 2)
    reader = Reader(readers[far])
    word = b"message" if kind == "channel" else b"user"
    command = encode("PUBLISH" if kind == "channel" else "MESH.SEND", "to %d" % far, b"x" * 128)
    frame = len(encode(word, "to %d" % far, b"x" * 128))
    publisher = mesh[0].wire(2, timeout=30)
    flood(publisher, command, b":1\r\n", COUNT // 4)
    eventually(10, lambda: reader.bytes == COUNT // 4 // BATCH * BATCH * frame)


    def overtaken():
        return mesh[far].metric("smallworld_reordered_total")

    # Where the way changes under the load, messages overtake others and are kept until those have
    # come, in memory of their own: another matter than the steady course, which is measured.
    for _ in range(5):
        between, reordered = path(far)[0], overtaken()
        before, start, began = [one.count() for one in counted], reader.bytes, time.monotonic()
        flood(publisher, command, b":1\r\n", COUNT)
        sent = COUNT // BATCH * BATCH
        eventually(10, lambda: reader.bytes - start == sent * frame)
        after, took = [one.count() for one in counted], time.monotonic() - began
        if overtaken() == reordered:
            break
        note("%s: messages that overtook another, repeated" % kind, overtaken() - reordered)
    else:
        pytest.fail("the way changed five times")
    # Where two ways are as short, another node may have forwarded some.
    for name, index in (("publisher's node", 0), ("node between", between),
                        ("subscriber's node", far)):
        made = after[index] - before[index]
        note("%s: allocations for %d messages, %s" % (kind, sent, name), made)
        assert made <= sent / 1_000 + took * PER_SECOND, "%s: %d for %d" % (name, made, sent)
    for wire in readers.values():
        wire.close()
