"""A peer of the link protocol that a test can make lie: frames by hand.

The tables are in Sources/MeshWire/Frame.swift and Message.swift; here they are written a second
time on purpose, so that a change of the wire format is noticed.
"""
import random
import select
import socket
import struct
import time

LINK, ROUTED, ARC = 1, 2, 3
(HELLO, WELCOME, REFUSE, HEARTBEAT, MEMBERS, LINK_LISTS, ROLE, BYE, ACCUSE, VOUCH, RECORDS, DIGESTS,
 ORIGINS, REPAIR, SNAPSHOT, CANNOT_REPAIR, QUESTION, ANSWER, TRACE_ANSWER) = range(1, 20)
LOG_SUMMARIES = 22
LINK_CHANGES, LINKS_WANTED, STATUSES = 25, 26, 27
NOBODY, TAKEN_BACK, UNSUPPORTED, INDIRECT_PROBE = 34, 35, 36, 37
INTRODUCE, NEIGHBOUR = 1, 2
CHANNEL, SHARD_CHANNEL, USER, CONTROL = 1, 2, 3, 4
WRONG_CLUSTER, WRONG_VERSION, FULL, STRATUM_TAKEN, DUPLICATE, ONESELF, DEAD = range(1, 8)


def frame(kind, content, flags=0, hops_left=0, body=0, length=None):
    """A frame; `length` lies about it."""
    length = 8 + len(content) if length is None else length
    return struct.pack("<IBBBB", length, kind, flags, hops_left, body) + content


def link(number, content=b"", **lies):
    return frame(LINK, bytes([number]) + content, **lies)


def routed(origin, destinations, name, payload, key=0, life=0, hops_taken=0, hops_left=48,
           body=CHANNEL, flags=0, count=None, name_length=None, length=None):
    """A routed frame; `count`, `name_length` and `length` lie."""
    count = len(destinations) if count is None else count
    name_length = len(name) if name_length is None else name_length
    content = struct.pack("<QQIHH", origin, key | count << 48, life & 0xFFFFFFFF, name_length,
                          hops_taken)
    content += b"".join(struct.pack("<QII", node, 0, 0xFFFFFFFF) for node in destinations)
    return frame(ROUTED, content + name + payload, flags, hops_left, body, length)


def arc(origin, end, message, hops_left=48):
    return frame(ARC, struct.pack("<QQ", origin, end) + message, hops_left=hops_left)


def short(text):
    return bytes([len(text)]) + text


def endpoint(host, port):
    return struct.pack("<BH", 4, port) + struct.pack("<I", struct.unpack(
        ">I", socket.inet_aton(host))[0])


def member(id, incarnation, status=0, address=("127.0.0.1", 1), name=b"liar", zone=b"",
           version=2):
    return struct.pack("<QQB", id, incarnation, status) + endpoint(*address) \
        + short(name) + short(zone) + struct.pack("<HII", version, 0, 64 << 20)


class Greeting:
    """What a hello says before the member: taken from a real node's."""

    def __init__(self, content):
        self.versions = content[0:4]
        self.features = content[4:12]
        size = content[12]
        self.cluster = content[13:13 + size]
        self.cluster_id = content[13 + size:21 + size]
        rest = content[23 + size:]
        self.id, self.incarnation = struct.unpack_from("<QQ", rest)

    def encode(self, purpose, member, cluster=None, cluster_id=None, versions=None, stratum=0):
        return (versions or self.versions) + self.features + short(cluster or self.cluster) \
            + (cluster_id or self.cluster_id) + bytes([purpose, stratum]) + member


def overheard(mesh):
    """A real greeting: a node with a false seed calls it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        node = mesh.add(seeds=[listener.getsockname()]).start()
        connection, _ = listener.accept()
        with connection:
            peer = Peer(connection)
            kind, number, content = peer.read()
            assert (kind, number) == (LINK, HELLO), (kind, number)
            node.kill()
        mesh.nodes.remove(node)
        return Greeting(content)


class Peer:
    """One connection to a mesh port."""

    def __init__(self, connected):
        self.socket = connected
        self.input = b""

    def send(self, data):
        """Sends what it can; False when the other end has closed."""
        try:
            self.socket.settimeout(10)
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def read(self, timeout=10):
        """(kind, message number or None, what follows it). ConnectionError, TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.input) >= 8:
                length, kind = struct.unpack_from("<IB", self.input)
                if len(self.input) >= length:
                    whole, self.input = self.input[:length], self.input[length:]
                    if kind == LINK:
                        return kind, whole[8], whole[9:]
                    return kind, None, whole[8:]
            ready, _, _ = select.select([self.socket], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise TimeoutError("no frame; so far %r" % self.input[:100])
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed by the peer")
            self.input += data

    def expect(self, number, timeout=10):
        """Reads until this message comes; what follows its number."""
        deadline = time.monotonic() + timeout
        while True:
            kind, got, content = self.read(max(deadline - time.monotonic(), 0))
            if kind == LINK and got == number:
                return content

    def wait_closed(self, timeout=10):
        """Reads until the other end closes; the numbers of the messages that came."""
        deadline, numbers = time.monotonic() + timeout, []
        while True:
            try:
                numbers.append(self.read(max(deadline - time.monotonic(), 0))[1])
            except ConnectionError:
                return numbers

    def close(self):
        self.socket.close()


def introduced(node, greeting, purpose=NEIGHBOUR, id=None, incarnation=None, address=None,
               **lies):
    """A peer that has said hello to `node`: (peer, its id)."""
    id = random.getrandbits(64) if id is None else id
    incarnation = int(time.time() * 1000) << 16 if incarnation is None else incarnation
    # Nobody listens there; each liar says another address.
    address = address or ("127.%d.%d.%d" % tuple(random.randrange(1, 255) for _ in range(3)), 9)
    record = member(id, incarnation, address=address)
    peer = Peer(node.connect("mesh"))
    peer.send(link(HELLO, greeting.encode(purpose, record, **lies)))
    return peer, id
