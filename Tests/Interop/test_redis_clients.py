"""Clients that know nothing of a mesh: redis-cli, redis-benchmark and redis-py with their defaults,
and each reply of the commands of tiers T0, T1 and T2 beside that of a real redis-server 7.0.

Each script runs against redis-server first, then against a node. After each step a PING with a
marker is sent, and all bytes before its answer are the step's transcript. Transcripts must be equal
byte for byte, but for the steps that carry a reason: those are the known differences.
"""
import asyncio
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
import redis
import redis.asyncio

import mesh
from mesh import Mesh, eventually, note
from processes import die_with_parent, free_port
from resp import Closed, Connection, Failure, Push, encode

# ---- the comparison


class Step:
    """What one connection sends, and how the two transcripts are compared."""

    def __init__(self, who, *words, raw=None, same=None, why=None, quiet=False,
                 mute=False):
        assert (why is None) == (same in (None, "sorted")), "a difference needs a reason"
        self.who = who
        self.words = words
        self.data = encode(*words) if raw is None else raw
        self.same = same
        self.why = why
        self.quiet = quiet or mute  # Wait for silence instead of asking at once.
        self.mute = mute  # The connection does not answer: no marker.

    def __repr__(self):
        return "%s: %.80r" % (self.who, self.data if not self.words else self.words)


def a(*words, **options):
    return Step("a", *words, **options)


def b(*words, **options):
    return Step("b", *words, **options)


def raw(data, who="a", **options):
    return Step(who, raw=data, **options)


def see(who="a"):
    """Nothing is sent: what the others' steps have brought to this connection."""
    return Step(who, raw=b"")


#: What a transcript ends with when the server has closed the connection.
CLOSED = b"<closed>"


def is_marker(value, marker):
    return value == marker or (isinstance(value, list) and list(value) == [b"pong", marker])


def play(address, script, protocol, counts=None):
    """Runs the script on fresh connections: for each step its transcript, as (value, bytes).

    `counts` says how many values each step had elsewhere: a server that delivers a little later
    gets two seconds for them.
    """
    connections, ended, transcripts = {}, set(), []
    try:
        for number, step in enumerate(script):
            if step.who not in connections:
                connections[step.who] = Connection(address, protocol, timeout=5)
            connection, seen = connections[step.who], []
            transcripts.append(seen)
            if step.who in ended:
                continue
            try:
                connection.send(step.data)
                try:
                    while step.quiet:
                        seen.append((connection.read(0.15), connection.raw))
                    while counts is not None and len(seen) < counts[number]:
                        seen.append((connection.read(2), connection.raw))
                except TimeoutError:
                    pass
                if step.mute:
                    continue
                marker = b"marker-%d" % number
                connection.send(encode("PING", marker))
                while True:
                    value = connection.read()
                    if is_marker(value, marker):
                        break
                    seen.append((value, connection.raw))
            except TimeoutError:
                seen.append((None, b"<no answer>"))
            except Closed:
                ended.add(step.who)
                seen.append((None, CLOSED))
        return transcripts
    finally:
        for connection in connections.values():
            connection.close()


def ordered(transcript):
    """The bytes; one message's `pmessage` frames sorted, their order is free in Redis too."""
    result, run = [], []
    for value, bytes in transcript:
        if isinstance(value, list) and value[:1] == [b"pmessage"]:
            run.append(bytes)
        else:
            result += sorted(run) + [bytes]
            run = []
    return result + sorted(run)


def kind(value):
    """A reply without its contents: types, lengths of lists kept."""
    if isinstance(value, list):
        return [type(value).__name__, *map(kind, value)]
    return type(value).__name__


def shape(ours, theirs):
    assert [kind(v) for v, _ in ours] == [kind(v) for v, _ in theirs]


def error(ours, theirs):
    """We answer an error, whatever Redis does."""
    assert len(ours) == 1 and isinstance(ours[0][0], Failure), ours


def okay(ours, theirs):
    assert [v for v, _ in ours] == [b"OK"], ours


def a_list(ours, theirs):
    assert len(ours) == 1 and type(ours[0][0]) is type(theirs[0][0]), (ours, theirs)
    assert ours[0][0] or not theirs[0][0], "an empty list"


def fields(ours, theirs):
    """`name=value` words: the names that tools read must be there, for each connection."""
    for line in ours[0][0].decode().strip().splitlines():
        names = dict(word.split("=", 1) for word in line.split(" "))
        assert {"id", "addr", "laddr", "name", "age", "idle", "flags", "db", "sub", "psub",
                "ssub", "cmd", "user", "resp"} <= set(names), names
    assert type(ours[0][0]) is type(theirs[0][0])
    assert len(ours[0][0].splitlines()) == len(theirs[0][0].splitlines())


def reply_first(ours, theirs):
    """The same frames. In RESP3 the reply comes before what the client has sent to itself."""
    assert sorted(bytes for _, bytes in ours) == sorted(bytes for _, bytes in theirs)
    if any(isinstance(value, Push) for value, _ in ours):
        assert not isinstance(ours[0][0], Push)
    else:
        assert ordered(ours) == ordered(theirs)


def refused(ours, theirs):
    """An error that says what is wrong, then the connection's end: as Redis, in other words."""
    for transcript in (ours, theirs):
        assert [bytes for _, bytes in transcript][1:] == [CLOSED], transcript
        assert transcript[0][0].startswith(b"ERR Protocol error: "), transcript


def hello(ours, theirs):
    """The same keys in the same order; version 7.2 or later, and a number of the connection."""
    (mine, _), (other, _) = ours[0], theirs[0]
    assert type(mine) is type(other) and mine[::2] == other[::2], mine
    values, others = dict(zip(mine[::2], mine[1::2])), dict(zip(other[::2], other[1::2]))
    for name in (b"server", b"proto", b"mode", b"role", b"modules"):
        assert values[name] == others[name], name
    assert tuple(map(int, values[b"version"].split(b"."))) >= (7, 2)
    assert isinstance(values[b"id"], int)
    assert len(ours) == len(theirs)


def info(ours, theirs):
    text = ours[0][0].decode()
    for name in ("redis_version", "redis_mode", "role", "loading", "connected_clients",
                 "pubsub_channels", "pubsub_patterns", "pubsubshard_channels",
                 *([] if mesh.IS_REDIS else ["pubsub_clients"])):
        assert re.search(r"^%s:\S+\r$" % name, text, re.MULTILINE), name
    assert "loading:0\r\n" in text and "role:master\r\n" in text
    assert "redis_mode:standalone\r\n" in text


HELLO = {"same": hello, "why": "the version and the connection's number are our own"}
HELP = {"same": a_list, "why": "our own help text"}
LATER = {"same": reply_first, "why": "as Redis from 7.2 on: the reply before one's own push"}
EARLIER = {"same": refused, "why": "refused at the first digit too many, not after 64 KiB of them"}
TEXT = {"same": shape, "why": "the same type, our own figures"}


SCRIPTS = {
    "ping": [a("PING"), a("PING", "hello"), a("PING", "a", "b"), a("ping"), a("PiNg", b"\0\r\n"),
             a("PING", "")],
    "echo": [a("ECHO", "x" * 16), a("ECHO"), a("ECHO", "a", "b"), a("ECHO", "")],
    "hello": [
        a("HELLO", **HELLO), a("HELLO", "2", **HELLO), a("HELLO", "3", **HELLO),
        a("HELLO", "4"), a("HELLO", "1"), a("HELLO", "x"), a("HELLO", "3", "FOO"),
        a("HELLO", "3", "AUTH", "x"), a("HELLO", "3", "SETNAME"),
        a("HELLO", "2", "SETNAME", "me", **HELLO), a("CLIENT", "GETNAME"),
        a("HELLO", "3", "AUTH", "default", "any", "SETNAME", "you", **HELLO),
        a("CLIENT", "GETNAME"), a("HELLO", "2", "AUTH", "nobody", "wrong"),
        a("PUBSUB", "NUMSUB"), a("HELLO", "3", "SETNAME", "a b"), a("CLIENT", "GETNAME")],
    "auth": [a("AUTH", "x"), a("AUTH", "default", "x"), a("AUTH", "nobody", "x"), a("AUTH"),
             a("AUTH", "a", "b", "c")],
    "select": [a("SELECT", "0"), a("SELECT", "15"), a("SELECT", "16"), a("SELECT", "-1"),
               a("SELECT", "x"), a("SELECT"), a("SELECT", "1", "2")],
    "client names": [
        a("CLIENT", "GETNAME"), a("CLIENT", "SETNAME", "x:y"), a("CLIENT", "GETNAME"),
        a("CLIENT", "SETNAME", "a b"), a("CLIENT", "SETNAME", "a\nb"), a("CLIENT", "SETNAME"),
        a("CLIENT", "SETNAME", ""), a("CLIENT", "GETNAME"), a("client", "getname"),
        a("CLIENT", "GETNAME", "x")],
    "client": [
        a("CLIENT"), a("CLIENT", "FOO"), a("CLIENT", "ID", **TEXT), a("CLIENT", "ID", "x"),
        a("CLIENT", "INFO", same=fields, why="the same fields, our own figures"),
        a("CLIENT", "HELP", **HELP),
        a("CLIENT", "NO-EVICT", "ON"), a("CLIENT", "NO-EVICT", "OFF"), a("CLIENT", "NO-EVICT", "X"),
        a("CLIENT", "NO-TOUCH", "ON", same=okay, why="of Redis 7.2, which we say we are"),
        a("CLIENT", "SETINFO", "LIB-NAME", "x", same=okay, why="of Redis 7.2"),
        a("CLIENT", "SETINFO", "LIB-VER", "1", same=okay, why="of Redis 7.2"),
        a("CLIENT", "SETINFO", "FOO", "1", same=error, why="of Redis 7.2"),
        a("CLIENT", "TRACKING", "ON", same=error,
          why="there are no keys whose changes could be told"),
        a("CLIENT", "TRACKING", "OFF"), a("CLIENT", "TRACKING", "X"),
        a("CLIENT", "TRACKING", "OFF", "X"), a("CLIENT", "TRACKING", "OFF", "NOLOOP"),
        a("CLIENT", "MAINT_NOTIFICATIONS", "ON", same=error, why="of Redis Enterprise")],
    "client list": [
        a("SUBSCRIBE", "list"),
        b("CLIENT", "LIST", same=fields, why="the same fields, our own figures"),
        b("CLIENT", "LIST", "TYPE", "pubsub", same=fields, why="the same fields"),
        b("CLIENT", "LIST", "TYPE", "normal", same=fields, why="the same fields"),
        b("CLIENT", "LIST", "TYPE", "nonsense"), b("CLIENT", "LIST", "ID"),
        b("CLIENT", "LIST", "FOO")],
    "client kill": [
        b("CLIENT", "KILL", "1.2.3.4:5"), b("CLIENT", "KILL", "ID", "x"),
        b("CLIENT", "KILL", "ID", "999999999"), b("CLIENT", "KILL", "TYPE", "nonsense"),
        b("CLIENT", "KILL"), b("CLIENT", "KILL", "FOO", "bar"),
        a("SUBSCRIBE", "kill"), b("CLIENT", "KILL", "TYPE", "pubsub"), see("a"),
        b("PUBSUB", "NUMSUB", "kill"),
        b("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")],
    "client reply": [
        b("PING"), a("CLIENT", "REPLY", "ON"),
        raw(encode("CLIENT", "REPLY", "SKIP") + encode("PING", "unseen") + encode("PING", "seen")),
        a("CLIENT", "REPLY", "FOO"), a("CLIENT", "REPLY"),
        raw(encode("CLIENT", "REPLY", "OFF") + encode("PING", "unseen"), mute=True),
        a("SUBSCRIBE", "even", mute=True), b("PUBLISH", "even", "so"),
        raw(b"", mute=True), a("UNSUBSCRIBE", mute=True), a("CLIENT", "REPLY", "ON")],
    "unknown": [
        a("FOO"), a("FOO", "a", "b"), a("foo", "x" * 200, "y" * 200),
        a("GET", "k", same=error, why="there are no keys"),
        a("SET", "k", "v", same=error, why="there are no keys"),
        a("F" * 200, "1"), a("FOO", "a\r\nb"), a("", "x"), a("SENTINEL", "MASTERS"),
        a("MESH.NONSENSE")],
    "cluster": [a("CLUSTER", "INFO"), a("CLUSTER", "NODES"), a("CLUSTER", "SLOTS"),
                a("READONLY"), a("READWRITE")],
    "info": [a("INFO", same=info, why="the fields that tools read"),
             a("INFO", "all", same=info, why="the fields that tools read"),
             a("INFO", "nonsense"),
             a("INFO", "server", **TEXT), a("info", "REPLICATION", **TEXT)],
    "config and command": [
        a("CONFIG", "GET", "nonsense"), a("CONFIG", "GET", "maxclients", **TEXT),
        a("CONFIG", "GET", "notify-keyspace-events"),
        a("CONFIG", "GET"), a("CONFIG", "FOO"), a("CONFIG"),
        a("COMMAND", "COUNT", **TEXT), a("COMMAND", "LIST", same=a_list, why="our own commands"),
        a("COMMAND", "FOO"),
        a("COMMAND", "DOCS", "nonsense"), a("COMMAND", "INFO", "nonsense")],
    "inline": [
        raw(b"PING\r\n"), raw(b"PING\n"), raw(b"\r\n"), raw(b"   PING    hello   \r\n"),
        raw(b"PING 'a b'\r\n"), raw(b'PING "a b" \r\n'), raw(b"FOO 1 2\r\n"),
        raw(b"*0\r\n"), raw(b"*-1\r\n"), raw(b"\r\n\r\nPING\r\nPING x\r\n"), raw(b'PING ""\r\n')],
    "inline escapes": [raw(b'PING "\\x41\\n\\r\\t\\"\\\\"\r\n'), raw(b"PING 'it\\'s'\r\n")],
    "inline quotes": [raw(b'PING "a\r\n')],
    "inline quotes after": [raw(b'PING "a"b\r\n')],
    "inline too long": [raw(b"PING " + b"x" * 70_000, quiet=True)],
    "array of nothing good": [raw(b"*abc\r\n")],
    "array too long": [raw(b"*2147483648\r\n")],
    "array that is refused at its first item": [raw(
        b"*1048577\r\nPING\r\n", same=refused,
        why="more than 1,048,576 arguments are refused when they are announced")],
    "array count too long": [raw(b"*99999999999999999999\r\n")],
    "array without bulk": [raw(b"*1\r\n!3\r\nabc\r\n")],
    "bulk of nothing good": [raw(b"*1\r\n$abc\r\n")],
    "bulk negative": [raw(b"*1\r\n$-1\r\n")],
    "bulk too long": [raw(b"*1\r\n$536870913\r\n")],
    "array header too long": [raw(b"*" + b"1" * 70_000, quiet=True, **EARLIER)],
    "bulk header too long": [raw(b"*1\r\n$" + b"1" * 70_000, quiet=True, **EARLIER)],
    "http post": [raw(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")],
    "http host": [raw(b"Host: x\r\n")],
    "quit": [a("QUIT")],
    "quit with more": [raw(encode("QUIT") + encode("PING"))],
    "quit while subscribed": [a("SUBSCRIBE", "q"), a("QUIT")],
    "reset": [
        a("SUBSCRIBE", "r"), a("PSUBSCRIBE", "r*"), a("SSUBSCRIBE", "r"),
        a("RESET"), b("PUBSUB", "NUMSUB", "r"), b("PUBSUB", "NUMPAT"),
        b("PUBSUB", "SHARDNUMSUB", "r"), a("CLIENT", "GETNAME"), a("PING", "x"),
        a("RESET", "x")],
    "arity": [
        a("SUBSCRIBE"), a("PSUBSCRIBE"), a("SSUBSCRIBE"), a("PUBLISH"), a("PUBLISH", "a"),
        a("PUBLISH", "a", "b", "c"), a("SPUBLISH", "a"), a("PUBSUB"), a("PUBSUB", "NUMPAT", "x"),
        a("PUBSUB", "CHANNELS", "a", "b"), a("PUBSUB", "SHARDCHANNELS", "a", "b"),
        a("PUBSUB", "HELP", "x"), a("pubsub", "foo"), a("PUBSUB", "FOO", "bar")],
    "subscribe": [
        a("SUBSCRIBE", "x", "y", "x"), a("SUBSCRIBE", "x"), b("PUBLISH", "x", "one"), see(),
        b("PUBLISH", "z", "none"), a("UNSUBSCRIBE", "nope", "x"), b("PUBLISH", "x", "gone"),
        see(), a("UNSUBSCRIBE"), a("UNSUBSCRIBE"), a("UNSUBSCRIBE", "x", "x"),
        a("PING"), a("PUBLISH", "x", "y")],
    "unsubscribe from all": [
        a("SUBSCRIBE", "u1", "u2", "u3"), a("PSUBSCRIBE", "p1", "p2"),
        a("SSUBSCRIBE", "s1", "s2"),
        a("UNSUBSCRIBE", same="sorted"), a("PUNSUBSCRIBE", same="sorted"),
        a("SUNSUBSCRIBE", same="sorted"), a("PING"), a("PUNSUBSCRIBE"), a("SUNSUBSCRIBE"),
        a("PUNSUBSCRIBE", "x", "y"), a("SUNSUBSCRIBE", "x", "y")],
    "patterns": [
        a("PSUBSCRIBE", "h?llo", "h*llo", "h[ae]llo", "h[^e]llo", "h[a-f]llo", "h\\?llo", "*"),
        b("PUBLISH", "hello", "1"), see(), b("PUBLISH", "hallo", "2"), see(),
        b("PUBLISH", "h?llo", "3"), see(), b("PUBLISH", "hllo", "4"), see(),
        b("PUBLISH", "HELLO", "5"), see(), b("PUBLISH", "", "6"), see(),
        b("PUBLISH", b"h\0llo", b"\r\n\0"), see(), b("PUBSUB", "NUMPAT"),
        b("PUBSUB", "CHANNELS"), a("PUNSUBSCRIBE", "h?llo", "nope"), b("PUBLISH", "hello", "7"),
        see(), a("PUNSUBSCRIBE", same="sorted")],
    "odd patterns": [
        a("PSUBSCRIBE", "[", "[a", "a\\", "[z-a]x", "**", "[^]", "[]a]", "\\[x\\]", "a**b*?"),
        *[step for channel in ("[", "a", "a\\", "mx", "[x]", "", "]", "aaabbbc", "]a]", "^", "b")
          for step in (b("PUBLISH", channel, "m"), see())]],
    "channels and patterns": [
        a("SUBSCRIBE", "news"), a("PSUBSCRIBE", "n*", "ne?s"), b("SUBSCRIBE", "news"),
        Step("c", "PUBLISH", "news", "to all"), see(), see("b"),
        Step("c", "PUBSUB", "NUMSUB", "news", "n*"), Step("c", "PUBSUB", "CHANNELS", "n*")],
    "shard channels": [
        a("SSUBSCRIBE", "s", "t"), a("SUBSCRIBE", "s"), a("PSUBSCRIBE", "*"),
        b("SPUBLISH", "s", "shard"), see(), b("PUBLISH", "s", "plain"), see(),
        b("SPUBLISH", "none", "x"), b("PUBSUB", "SHARDNUMSUB", "s", "t", "u", "s"),
        b("PUBSUB", "SHARDCHANNELS", same="sorted"), b("PUBSUB", "SHARDCHANNELS", "t"),
        b("PUBSUB", "CHANNELS"), a("SUNSUBSCRIBE", "s"), b("SPUBLISH", "s", "gone"), see(),
        a("SUNSUBSCRIBE"), a("SUNSUBSCRIBE")],
    "pubsub": [
        a("SUBSCRIBE", "one", "two"), b("SUBSCRIBE", "one"), b("PSUBSCRIBE", "t*"),
        Step("c", "PUBSUB", "NUMSUB"), Step("c", "PUBSUB", "NUMSUB", "two", "one", "three", "two"),
        Step("c", "PUBSUB", "CHANNELS", same="sorted"), Step("c", "PUBSUB", "CHANNELS", "t*"),
        Step("c", "PUBSUB", "CHANNELS", "[no]*"), Step("c", "PUBSUB", "NUMPAT"),
        Step("c", "PUBSUB", "SHARDCHANNELS"), Step("c", "PUBSUB", "SHARDNUMSUB"),
        Step("c", "pubsub", "numsub", "one"), Step("c", "PUBSUB", "HELP", **HELP)],
    "while subscribed": [
        a("SUBSCRIBE", "w"), a("ECHO", "k"), a("PUBLISH", "w", "self", **LATER),
        a("CLIENT", "GETNAME"), a("INFO", "nonsense"), a("FOO"), a("SUBSCRIBE"),
        a("PING"), a("PING", "arg"), a("PING", "a", "b"),
        a("SSUBSCRIBE", "w"), a("UNSUBSCRIBE", "w"), a("ECHO", "still"), a("SUNSUBSCRIBE", "w"),
        a("ECHO", "free")],
    "publish to oneself": [
        a("PSUBSCRIBE", "me*"), a("SUBSCRIBE", "me"), a("PUBLISH", "me", "x", **LATER),
        raw(encode("PUBLISH", "me", "1") + encode("PING", "p") + encode("PUBLISH", "me", "2"),
            **LATER)],
    "switching protocol while subscribed": [
        a("HELLO", "3", **HELLO), a("SUBSCRIBE", "sw"), b("PUBLISH", "sw", "three"), see(),
        a("HELLO", "2", **HELLO), b("PUBLISH", "sw", "two"), see(), a("ECHO", "x"), a("PING")],
    "binary": [
        a("SUBSCRIBE", b"\0\xff\r\n", ""), b("PUBLISH", b"\0\xff\r\n", bytes(range(256))), see(),
        b("PUBLISH", "", ""), see(), b("PUBSUB", "NUMSUB", "", b"\0\xff\r\n")],
    "keyspace notifications": [
        a("PSUBSCRIBE", "__keyspace@0__:*"), a("SUBSCRIBE", "__keyevent@0__:expired"),
        b("CONFIG", "GET", "notify-keyspace-events")],
    "pipelined": [
        raw(encode("SUBSCRIBE", "p") + encode("PUBLISH", "q", "x") + b"PING\r\n"
            + encode("UNSUBSCRIBE", "p") + encode("PUBLISH", "p", "x") + encode("ECHO", "e"))],
    "acl": [a("ACL", "WHOAMI")],
}


@pytest.fixture(scope="module")
def server():
    """A real redis-server."""
    with RealRedis() as address:
        yield address


class RealRedis:
    def __enter__(self):
        assert shutil.which("redis-server"), "apt-get install redis-server"
        version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True)
        assert "v=7.0." in version.stdout, "the comparison is with 7.0: %s" % version.stdout
        self.port = free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", "/tmp"], stdout=subprocess.DEVNULL,
            preexec_fn=die_with_parent)
        eventually(10, lambda: socket.create_connection(
            ("127.0.0.1", self.port), 1).close() or True)
        return ("127.0.0.1", self.port)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def one():
    with Mesh(1) as nodes:
        yield nodes[0]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_replies_are_those_of_redis(server, one, name, protocol):
    compare(server, one, name, SCRIPTS[name], protocol)


def compare(server, one, name, script, protocol):
    """Plays a script to both, and fails with each step whose transcripts differ."""
    one.hang_up()
    theirs = play(server, script, protocol)
    ours = play(one.addresses["redis"], script, protocol, [len(seen) for seen in theirs])
    wrong = []
    for step, mine, others in zip(script, ours, theirs):
        try:
            if step.same is None:
                assert ordered(mine) == ordered(others)
            elif step.same == "sorted":
                if len(mine) == len(others) == 1:
                    assert sorted(mine[0][0]) == sorted(others[0][0])
                else:
                    # The count is that after each one, the names' order is free.
                    assert sorted(v[1] for v, _ in mine) == sorted(v[1] for v, _ in others)
                    assert [(type(v), v[0], v[2]) for v, _ in mine] \
                        == [(type(v), v[0], v[2]) for v, _ in others]
            elif not (mesh.IS_REDIS and step.same in (hello, error, okay)):
                step.same(mine, others)
        except Exception as failure:  # Whatever a comparison makes of a strange reply.
            wrong.append("%r\n    ours:  %.300r\n    redis: %.300r\n    %s" % (
                step, [bytes for _, bytes in mine], [bytes for _, bytes in others],
                str(failure).splitlines()[:1] if step.same else ""))
    assert not wrong, "RESP%d, %s:\n" % (protocol, name) + "\n".join(wrong)


def test_the_known_differences_are_few():
    """They are listed here, so that nobody adds one unseen."""
    reasons = {}
    for name, script in SCRIPTS.items():
        for step in script:
            if step.why:
                reasons.setdefault(step.why, set()).add(" ".join(map(str, step.words[:2])))
    for why, commands in sorted(reasons.items()):
        note("differs: " + ", ".join(sorted(commands))[:56], why)
    assert sum(map(len, reasons.values())) <= 40


# ---- redis-cli and redis-benchmark


def cli(node, *words, data=None, options=(), timeout=20):
    host, port = node.addresses["redis"]
    done = subprocess.run(
        ["redis-cli", "-h", host, "-p", str(port), *options, *words], input=data,
        capture_output=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def test_redis_cli_connects_in_both_protocols(one):
    for options in ([], ["-3"], ["-2"], ["-n", "3"]):
        assert cli(one, "PING", options=options) == (0, b"PONG\n", b""), options
        assert cli(one, "PUBLISH", "a", "b", options=options) == (0, b"0\n", b"")
        status, out, err = cli(one, "INFO", options=options)
        assert status == 0 and b"redis_version:" in out and not err
        status, out, _ = cli(one, "CLIENT", "LIST", options=options)
        assert status == 0 and b"id=" in out
    status, out, _ = cli(one, data=b"PING\nPING hello\nECHO 'a b'\nPUBSUB NUMPAT\n")
    assert (status, out) == (0, b"PONG\nhello\na b\n0\n")


def test_redis_cli_subscribes(one):
    for protocol in ("-2", "-3"):
        host, port = one.addresses["redis"]
        process = subprocess.Popen(
            ["redis-cli", protocol, "-h", host, "-p", str(port), "--csv", "PSUBSCRIBE", "cli*"],
            stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        try:
            eventually(5, lambda: one.client().pubsub_numpat() == 1)
            assert one.client().publish("cli-channel", "hello, cli") == 1
            os.set_blocking(process.stdout.fileno(), False)
            seen = b""

            def printed():
                nonlocal seen
                seen += process.stdout.read() or b""
                assert b'"pmessage","cli*","cli-channel","hello, cli"' in seen, seen

            eventually(5, printed)
        finally:
            process.kill()
            process.wait(5)
            process.stdout.close()
        eventually(5, lambda: one.client().pubsub_numpat() == 0)


def test_redis_cli_pipe_mode(one):
    count = 20_000
    data = encode("PUBLISH", "piped", "x" * 30) * count
    start = time.monotonic()
    status, out, err = cli(one, options=["--pipe"], data=data)
    assert status == 0 and b"errors: 0, replies: %d" % count in out, (out, err)
    note("redis-cli --pipe, 20,000 PUBLISH", time.monotonic() - start)


@pytest.mark.parametrize("words", [
    ["-t", "ping_inline,ping_mbulk"], ["-t", "ping_inline,ping_mbulk", "-P", "16"],
    ["PUBLISH", "channel:__rand_int__", "payload"], ["-P", "32", "PUBLISH", "channel", "payload"],
    ["-3", "-t", "ping_mbulk"], ["--threads", "2", "-t", "ping_mbulk"]],
    ids=lambda words: " ".join(words))
def test_redis_benchmark_runs(one, words):
    host, port = one.addresses["redis"]
    done = subprocess.run(
        ["redis-benchmark", "-h", host, "-p", str(port), "-q", "-n", "20000", "-r", "1000", *words],
        capture_output=True, text=True, timeout=60)
    output = done.stdout + done.stderr
    results = re.findall(r"([\w ():]+): ([\d.]+) requests per second", output)
    expected = 2 if "ping_inline,ping_mbulk" in words else 1
    assert done.returncode == 0 and len(results) == expected, output
    assert "rror" not in output and "WARNING" not in output, output
    for name, rate in results:
        assert float(rate) > 1_000, output
        note("redis-benchmark %s" % " ".join(words), "%s/s" % rate)


# ---- redis-py


@pytest.mark.parametrize("options", [
    {}, {"protocol": 2}, {"protocol": 3}, {"db": 5}, {"client_name": "me"},
    {"decode_responses": True}, {"health_check_interval": 1}, {"username": "default",
                                                               "password": "any"},
    {"single_connection_client": True}], ids=str)
def test_redis_py_connects_with(one, options):
    host, port = one.addresses["redis"]
    with redis.Redis(host=host, port=port, socket_timeout=10, **options) as client:
        assert client.ping() is True
        assert client.echo("x") in (b"x", "x")
        assert client.publish("nobody", "x") == 0
        assert client.info()["redis_mode"] == "standalone"
        assert client.client_id() > 0
        if "client_name" in options:
            assert client.client_getname() in (b"me", "me")
        with client.pubsub() as pubsub:
            pubsub.subscribe("py")
            assert pubsub.get_message(timeout=5)["type"] == "subscribe"
            assert client.publish("py", "x") == 1
            message = pubsub.get_message(timeout=5)
            assert (message["type"], message["data"]) in [("message", b"x"), ("message", "x")]
            pubsub.ping("health")
            pubsub.unsubscribe()
            eventually(5, lambda: not (pubsub.get_message(timeout=0.1) or pubsub.subscribed))


def test_redis_py_subscribes_again_when_its_connection_ends(one):
    for protocol in (2, 3):
        with mesh.Subscriber(one, protocol, [b"again-%d" % n for n in range(100)], [b"ag*"]) as s:
            client = one.client()
            before = s.confirmed
            assert client.client_kill_filter(_type="pubsub") == 1
            eventually(5, lambda: s.confirmed == before + 101 or s.check())
            assert client.publish("again-7", "x") == 2
            s.wait_count(2)


def test_redis_py_reads_in_a_thread_of_its_own(one):
    got = []
    pubsub = one.client().pubsub()
    pubsub.subscribe(**{"threaded": lambda message: got.append(message["data"])})
    thread = pubsub.run_in_thread(sleep_time=0.01)
    try:
        eventually(5, lambda: one.client().pubsub_numsub("threaded") == [(b"threaded", 1)])
        for number in range(100):
            assert one.client().publish("threaded", number) == 1
        eventually(5, lambda: got == [b"%d" % number for number in range(100)])
    finally:
        thread.stop()
        thread.join(5)


def test_redis_py_asyncio(one):
    async def go():
        host, port = one.addresses["redis"]
        client = redis.asyncio.Redis(host=host, port=port)
        async with client.pubsub() as pubsub:
            await pubsub.psubscribe("async:*")
            assert (await pubsub.get_message(timeout=5))["type"] == "psubscribe"
            for number in range(100):
                assert await client.publish("async:%d" % number, number) == 1
            got = []
            while len(got) < 100:
                message = await pubsub.get_message(timeout=5)
                got.append((message["channel"], message["data"]))
            assert got == [(b"async:%d" % n, b"%d" % n) for n in range(100)]
        await client.aclose()

    asyncio.run(asyncio.wait_for(go(), 30))


@pytest.mark.deadline(60)
def test_one_command_may_name_a_hundred_thousand_channels(one):
    """What clients do after a reconnect: all their channels in one SUBSCRIBE."""
    count = 100_000
    names = [b"reconnect:%d" % number for number in range(count)]
    connection = one.wire(3, timeout=30)
    start = time.monotonic()
    sender = threading.Thread(target=connection.send, args=(encode("SUBSCRIBE", *names),))
    sender.start()
    for number, name in enumerate(names):
        assert connection.read() == [b"subscribe", name, number + 1]
    sender.join()
    note("100,000 channels in one SUBSCRIBE, confirmed after", time.monotonic() - start)
    assert one.client().publish(names[-1], "x") == 1
    assert connection.read() == [b"message", names[-1], b"x"]
    connection.close()
    eventually(5, lambda: one.client().pubsub_numsub(names[0]) == [(names[0], 0)])
