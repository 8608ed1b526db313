"""A Redis connection that hides nothing: replies with their types, pushes apart, raw bytes.

redis-py is the client that the tests trust for what an application sees; this one is for what it
hides: the exact bytes of a reply, broken requests, and a thousand connections in one thread.
"""
import select
import socket
import time


class Closed(Exception):
    """The peer ended the connection, in an orderly way or not."""


class Simple(bytes):
    """`+text`."""


class Verbatim(bytes):
    """`=txt:`, without these four bytes."""


class Failure(bytes):
    """`-text`: an error reply."""


class Push(list):
    """`>`: a RESP3 frame that nobody asked for."""


class Pairs(list):
    """`%`: a RESP3 map, as a flat list."""


class Missing:
    """A null, which knows how it was written: `$-1`, `*-1` or `_`."""

    def __init__(self, written):
        self.written = written

    def __repr__(self):
        return "null(%s)" % self.written.decode()

    def __eq__(self, other):
        return isinstance(other, Missing) and other.written == self.written

    __hash__ = None


class Incomplete(Exception):
    """The bytes end inside a value."""


def encode(*words):
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if not isinstance(word, (bytes, bytearray)):
            word = str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def decode(data, at=0):
    """The value at `at`, and where it ends. Incomplete, or ValueError for what is not RESP."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, line, after = bytes(data[at:at + 1]), bytes(data[at + 1:end]), end + 2
    if kind == b"+":
        return Simple(line), after
    if kind == b"-":
        return Failure(line), after
    if kind in (b":", b"("):
        return int(line), after
    if kind == b",":
        return float(line), after
    if kind == b"#":
        return {b"t": True, b"f": False}[line], after
    if kind == b"_":
        return Missing(b"_"), after
    if kind in (b"$", b"="):
        count = int(line)
        if count < 0:
            return Missing(b"$-1"), after
        if len(data) < after + count + 2:
            raise Incomplete
        if data[after + count:after + count + 2] != b"\r\n":
            raise ValueError("a bulk string of %d bytes that does not end there" % count)
        if kind == b"=":
            return Verbatim(data[after + 4:after + count]), after + count + 2
        return bytes(data[after:after + count]), after + count + 2
    if kind in (b"*", b">", b"~", b"%"):
        count = int(line)
        if count < 0:
            return Missing(b"*-1"), after
        values = []
        for _ in range(count * 2 if kind == b"%" else count):
            value, after = decode(data, after)
            values.append(value)
        return {b">": Push, b"%": Pairs}.get(kind, list)(values), after
    raise ValueError("not RESP: %r" % bytes(data[at:at + 40]))


class Connection:
    """One connection to a Redis port, or to a Unix socket by its path. Each wait has a deadline."""

    def __init__(self, address, protocol=2, timeout=10.0):
        self.timeout = timeout
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = bytearray()
        self.consumed = 0
        self.pushes = []
        self.raw = b""
        if protocol != 2:
            reply = self.call("HELLO", protocol)
            assert isinstance(reply, Pairs), reply

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends raw bytes; Closed when the peer no longer takes them."""
        try:
            self.socket.settimeout(self.timeout)
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from None

    def read(self, timeout=None):
        """The next value, whatever it is; `raw` keeps its bytes. TimeoutError, Closed."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if self.consumed < len(self.input):
                try:
                    value, end = decode(self.input, self.consumed)
                    self.raw = bytes(self.input[self.consumed:end])
                    self.consumed = end
                    if self.consumed == len(self.input) or self.consumed > 1 << 20:
                        del self.input[:self.consumed]
                        self.consumed = 0
                    return value
                except Incomplete:
                    pass
            self.receive(deadline - time.monotonic())

    def receive(self, timeout):
        """Takes what has come, waiting for at most `timeout` seconds for the first byte."""
        # Not select: it ends at descriptor 1,023, and a run of all tests has more.
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        readable = poll.poll(max(timeout, 0) * 1000)
        if not readable:
            raise TimeoutError("no bytes; so far %r" % bytes(self.input[self.consumed:][:200]))
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("closed by the peer")
        self.input += data

    def reply(self, timeout=None):
        """The next value that is not a push; pushes are kept in `pushes`."""
        while True:
            value = self.read(timeout)
            if not isinstance(value, Push):
                return value
            self.pushes.append(value)

    def call(self, *words, timeout=None):
        """Sends one command and returns its reply."""
        self.send(encode(*words))
        return self.reply(timeout)

    def waiting(self, quiet=0.2):
        """Every value that comes until nothing has come for `quiet` seconds."""
        values, self.pushes = list(self.pushes), []
        while True:
            try:
                values.append(self.read(quiet))
            except TimeoutError:
                return values

    def wait_closed(self, timeout=10.0):
        """Reads until the peer closes; returns all it said. TimeoutError when it does not."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.receive(deadline - time.monotonic())
            except Closed:
                return bytes(self.input[self.consumed:])
