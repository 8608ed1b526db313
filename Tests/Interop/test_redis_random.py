"""Random commands, each sent to a real redis-server and to a node: replies must be the same bytes.

The scripts of test_redis_clients.py hold what somebody thought of; this holds what nobody did: two
connections, in RESP2 or RESP3, that subscribe, publish, wrap commands in MULTI and make mistakes in
random order. A run that differs prints its seed and the shortest script that
shows it; SEED and RUNS in the environment choose others.

Left out are replies that describe the server itself (INFO, CLIENT LIST, HELLO's reply, COMMAND,
HELP), which test_redis_clients.py compares by their shape, and CLUSTER, of which we know no more than
that it is refused.
"""
import os
import random

import pytest

from mesh import Mesh, note
from resp import Push
from test_redis_clients import RealRedis, Step, encode, ordered, play

SEED = int(os.environ.get("SEED", "1"))
RUNS = int(os.environ.get("RUNS", "150"))

NAMES = [b"a", b"b", b"ab", b"", b"*", b"a*", b"[ab]", b"\0\r\n", b"n" * 70]
PATTERNS = [b"*", b"a*", b"?", b"[ab]", b"[^a]*", b"a", b"\\*", b"", b"[a", b"a[b-", b"**b"]
ODD = [b"", b"0", b"-1", b"x", b"ON", b"a\r\nb", b"\xff", b"x" * 200]

#: Words, each a text or a list to choose from; a trailing "…" repeats the last one.
GRAMMAR = [
    (6, ["SUBSCRIBE", NAMES, "…"]), (4, ["PSUBSCRIBE", PATTERNS, "…"]),
    (3, ["SSUBSCRIBE", NAMES, "…"]), (3, ["UNSUBSCRIBE", NAMES, "…"]),
    (2, ["PUNSUBSCRIBE", PATTERNS, "…"]), (2, ["SUNSUBSCRIBE", NAMES, "…"]),
    (1, ["UNSUBSCRIBE"]), (1, ["PUNSUBSCRIBE"]), (1, ["SUNSUBSCRIBE"]),
    (8, ["PUBLISH", NAMES, NAMES]), (3, ["SPUBLISH", NAMES, NAMES]),
    (2, ["PING"]), (2, ["PING", NAMES]), (1, ["ECHO", NAMES]),
    (1, ["PUBSUB", "CHANNELS"]), (1, ["PUBSUB", "CHANNELS", PATTERNS]),
    (1, ["PUBSUB", "SHARDCHANNELS"]), (1, ["PUBSUB", "SHARDCHANNELS", PATTERNS]),
    (2, ["PUBSUB", "NUMSUB", NAMES, "…"]), (1, ["PUBSUB", "NUMSUB"]),
    (1, ["PUBSUB", "SHARDNUMSUB", NAMES, "…"]), (2, ["PUBSUB", "NUMPAT"]),
    (1, ["CLIENT", "SETNAME", [*NAMES, b"ok", b"a b"]]), (1, ["CLIENT", "GETNAME"]),
    (1, ["CLIENT", "REPLY", "ON"]), (1, ["CLIENT", "NO-EVICT", ["ON", "OFF", "x"]]),
    (1, ["CLIENT", "KILL", "ID", ["0", "-1", "x", "99999999"]]),
    (1, ["CLIENT", "KILL", "TYPE", ["master", "replica", "x"]]),
    (1, ["CLIENT", "KILL", "ADDR", ["1.2.3.4:5", "x"]]), (1, ["CLIENT", "GETREDIR"]),
    (1, ["SELECT", ["0", "1", "15", "16", "-1", "x", "99999999999999999999"]]),
    (1, ["AUTH", NAMES]), (1, ["AUTH", ["default", "x"], NAMES]),
    (1, ["HELLO", ["1", "4", "x", "-3", "3.0"]]), (1, ["HELLO", "3", "AUTH", "x", "y"]),
    (1, ["HELLO", "3", ["AUTH", "SETNAME", "x"]]),
    (1, ["EXEC"]), (1, ["DISCARD"]), (1, ["WATCH", NAMES]), (1, ["UNWATCH"]),
    (1, ["RESET"]), (1, ["ACL", "WHOAMI"]), (1, ["ACL", "USERS"]),
    (1, ["CONFIG", "GET", ["nonsense", "notify-keyspace-events"]]),
    (1, ["CONFIG", "SET", "nonsense", "1"]), (1, ["CONFIG", "RESETSTAT"]),
    (1, ["READONLY"]), (1, ["READWRITE"]), (1, ["ASKING"]), (1, ["DBSIZE"]), (1, ["ROLE"]),
    (1, ["FLUSHALL"]), (1, ["FLUSHDB", "ASYNC"]), (1, ["flushall", "SYNC"]), (1, ["FLUSHDB", "X"]),
    (1, ["FLUSHALL", "ASYNC", "X"]), (1, ["CLIENT", "TRACKING", "OFF"]),
    (1, ["MODULE", "LIST"]), (1, [["FOO", "foo", "SUBSCRIB", "PUBLISHX", "", b"\xff"], ODD, "…"]),
]

#: Bytes that are no array of bulk strings; those that end the connection come last in a script.
LINES = [b"PING\r\n", b"ping x\n", b"\r\n", b"*0\r\n", b"SUBSCRIBE a b\r\n", b"UNSUBSCRIBE\r\n",
         b'PUBLISH a "\\x41\\n"\r\n', b"PUBSUB numsub a\r\n", b"ECHO 'it''s'\r\n"]
ENDINGS = [encode("QUIT"), encode("QUIT", "now"), b"*x\r\n", b"*1\r\n$x\r\n", b"*1\r\n:1\r\n",
           b"*2\r\n$4\r\nPING\r\n$-1\r\n", b'PING "\r\n', b"POST /\r\n", b"*1048576\r\n$x\r\n"]


def words(pick):
    choice = pick.choices([g for _, g in GRAMMAR], [weight for weight, _ in GRAMMAR])[0]
    result = []
    for item in choice:
        if item == "…":
            while pick.random() < 0.4:
                result.append(pick.choice(last))
        else:
            last = item if isinstance(item, list) else [item]
            result.append(pick.choice(last))
    disturbance = pick.random()
    if disturbance < 0.05:
        result = result[:-1] or result
    elif disturbance < 0.10:
        result.append(pick.choice(ODD))
    elif disturbance < 0.13:
        result[pick.randrange(len(result))] = pick.choice(ODD)
    elif disturbance < 0.20 and isinstance(result[0], str):
        result[0] = pick.choice([str.lower, str.title])(result[0])
    return result


def compose(seed):
    """A script for connections a and b, in which each command lets the other see what came.

    Transactions publish nothing: Redis 7.0 counts what one publishes to itself among its replies
    (7.2 does not, and a node neither). And they end no subscriptions but by name, because the
    order in which that is confirmed is free.
    """
    pick = random.Random(seed)
    script = []
    for _ in range(pick.randint(4, 40)):
        who = pick.choice("ab")
        if pick.random() < 0.06:
            script.append(Step(who, raw=pick.choice(LINES)))
        elif pick.random() < 0.2:
            batch = [words(pick) for _ in range(pick.randint(2, 5))]
            if pick.random() < 0.6:
                # Ended within the step: a marker that is only queued would not be answered.
                batch = [one for one in batch if is_settled(one)]
                batch = [["MULTI"], *batch, [pick.choice(["EXEC", "EXEC", "DISCARD"])], ["DISCARD"]]
            script.append(Step(who, raw=b"".join(encode(*one) for one in batch)))
        else:
            script.append(Step(who, *words(pick)))
        script.append(Step("b" if who == "a" else "a", raw=b""))
    if pick.random() < 0.5:
        script.append(Step(pick.choice("ab"), raw=pick.choice(ENDINGS)))
    return script


def is_settled(words):
    name = str(words[0]).lower()
    return "publish" not in name and (len(words) > 1 or "unsubscribe" not in name)


def plain(value):
    """A reply with its types, in which lists of names alone are sorted."""
    if not isinstance(value, list):
        return type(value).__name__, value
    if value[:1] == [b"server"]:
        return type(value).__name__, len(value)
    parts = [plain(part) for part in value]
    if all(isinstance(part, bytes) for part in value):
        parts.sort()
    return type(value).__name__, parts


def free(transcript):
    """What Redis 7.0 and a node must share: the bytes of each frame, or for a list its values and
    their types, in order where Redis promises one.

    Free are: which name a count stands beside in the confirmations of an UNSUBSCRIBE without
    arguments, the order of the `pmessage`s of one message, that of a list of channels, and (as
    Redis itself from 7.2 on) whether a reply comes before or after pushes of its own publication.
    """
    replies, pushes, left = [], [], []
    for value, data in transcript:
        if isinstance(value, list) and value[:1] in (
                [b"unsubscribe"], [b"punsubscribe"], [b"sunsubscribe"]) and len(value) == 3:
            left.append((value[0], value[2]))
            left.append((value[0], repr(value[1])))
        elif isinstance(value, list) and value[:1] in (
                [b"message"], [b"pmessage"], [b"smessage"]):
            pushes.append((value, data))
        elif isinstance(value, list) and not isinstance(value, Push):
            replies.append(plain(value))
        else:
            replies.append(data)
    return replies, ordered(pushes), sorted(left, key=repr)


def differences(server, node, script, protocol):
    theirs = play(server, script, protocol)
    ours = play(node.addresses["redis"], script, protocol, [len(seen) for seen in theirs])
    return [(step, mine, others) for step, mine, others in zip(script, ours, theirs)
            if free(mine) != free(others)]


def shortest(server, node, script, protocol):
    """Leaves out steps while the servers still differ."""
    size = max(1, len(script) // 2)
    while True:
        at = 0
        while at < len(script):
            fewer = script[:at] + script[at + size:]
            if fewer and differences(server, node, fewer, protocol):
                script = fewer
            else:
                at += size
        if size == 1:
            return script
        size //= 2


@pytest.fixture(scope="module")
def servers():
    with RealRedis() as server, Mesh(1) as nodes:
        yield server, nodes[0]


@pytest.mark.deadline(300)
@pytest.mark.parametrize("protocol", [2, 3])
def test_random_commands_are_answered_as_by_redis(servers, protocol):
    server, node = servers
    steps = 0
    for run in range(RUNS):
        seed = SEED * 1_000_003 + run * 2 + protocol % 2
        script = compose(seed)
        steps += len(script)
        if differences(server, node, script, protocol):
            script = shortest(server, node, script, protocol)
            lines = ["RESP%d, SEED=%d, run %d:" % (protocol, SEED, run)]
            for step, mine, others in differences(server, node, script, protocol):
                lines.append("%r\n    ours:  %.600r\n    redis: %.600r" % (
                    step, [data for _, data in mine], [data for _, data in others]))
            lines.append("script: %r" % script)
            pytest.fail("\n".join(lines))
    note("random commands, RESP%d: steps that Redis answers with the same bytes" % protocol, steps)
