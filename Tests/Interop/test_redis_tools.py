"""What frameworks and tools ask of a server beside pub/sub itself: scripts that publish, parameters,
figures. Each reply beside that of a real redis-server 7.0, as in test_redis_clients.
"""
import hashlib
import threading

import pytest

from resp import encode
from test_redis_clients import a, b, compare, error, one, raw, see, server, shape

__all__ = ["one", "server"]  # Fixtures.

#: As Laravel's broadcaster sends it, with predis and with phpredis.
LARAVEL = "for i = 2, #ARGV do\n  redis.call('publish', ARGV[i], ARGV[1])\nend\n"
#: As litestar's channels plugin has it.
LITESTAR = ("local data = ARGV[1]\n\nfor _, channel in ipairs(KEYS) do\n"
            "    redis.call(\"PUBLISH\", channel, data)\nend\n")
COUNTS = ("local n = 0 -- all of them\nfor _, c in ipairs(KEYS) do\n"
          "  n = n + redis.call('publish', c, ARGV[1]) end return n")
UNKNOWN = "f" * 40


def name_of(text):
    return hashlib.sha1(text.encode()).hexdigest()


def shape_of_lists(ours, theirs):
    assert [len(value) for value, _ in ours] == [len(value) for value, _ in theirs], (ours, theirs)


def script(text, *words, **options):
    return a("EVAL", text, *words, **options)


LUA = {"same": shape, "why": "Lua says where in a table the value stands"}
SET = {"same": shape_of_lists, "why": "lists, where RESP3 has sets and RESP2 the same"}
ONLY = {"same": error, "why": "scripts here do nothing but publish"}

SCRIPTS = {
    "scripts that publish": [
        b("SUBSCRIBE", "a", "b"), script(LARAVEL, 0, "event", "a", "b", "c"), see("b"),
        script(LITESTAR, 2, "a", "b", "event"), see("b"),
        script(COUNTS, 3, "a", "b", "none", "x"), see("b"),
        script("return redis.call('PUBLISH', KEYS[1], ARGV[1])", 1, "a", b"\0\xff\r\n"), see("b"),
        script("for i=10,1,-3 do redis.call('publish','a',i) end return #KEYS", 1, "k"), see("b"),
        script("return redis.pcall('spublish','a','b')", 0), see("b"),
        script("for i, v in ipairs(ARGV) do redis.call('publish', 'a', i .. ':' .. v) end", 0,
               "x", "y"), see("b"),
        raw(b"EVAL \"return redis.call('publish', ARGV[1], 'x y')\" 0 a\r\n"), see("b")],
    "scripts by name": [
        a("SCRIPT", "FLUSH"), a("SCRIPT", "EXISTS", name_of(LARAVEL), "x", UNKNOWN),
        a("EVALSHA", name_of(LARAVEL), 0, "e", "a"), a("SCRIPT", "LOAD", LARAVEL),
        a("EVALSHA", name_of(LARAVEL), 0, "e", "a"),
        a("EVALSHA", name_of(LARAVEL).upper(), 0, "e", "a"),
        a("SCRIPT", "EXISTS", name_of(LARAVEL)), script("return 7", 0),
        a("EVALSHA", name_of("return 7"), 0), a("SCRIPT", "FLUSH", "ASYNC"),
        a("EVALSHA", name_of("return 7"), 0), a("SCRIPT", "FLUSH", "x"),
        a("SCRIPT", "FLUSH", "SYNC"), a("SCRIPT", "FLUSH", "ASYNC", "x"), a("SCRIPT", "KILL"),
        a("SCRIPT", "KILL", "x"), a("SCRIPT"), a("SCRIPT", "NO"), a("EVALSHA", "abc", 0),
        a("EVALSHA", UNKNOWN, -1), a("EVALSHA", UNKNOWN, "x"), a("EVALSHA", "zz", 5),
        a("EVALSHA", UNKNOWN), a("SCRIPT", "EXISTS")],
    "values of scripts": [script(text, len(keys), *keys, *words) for text, keys, words in (
        ("return 'a\\n\\065\\'\"' .. 1 .. \"x\"", [], []), ("return [[\nlong]] --c", [], []),
        ("--[[ x\n]] return 3", [], []), ("return [==[a]]b]==]", [], []), ("return", [], []),
        ("", [], []), ("return nil", [], []), ("return true", [], []), ("return false", [], []),
        ("return #ARGV - 1", [], ["a", "b"]), ("return -2 * 3 + 10", [], []),
        ("return 2 - -3", [], []), ("for i=1,5,0 do end return 'z'", [], []),
        ("return ARGV[1] + ARGV[2]", [], ["3", "4"]), ("return ARGV[3]", [], ["x"]),
        ("return KEYS[0]", ["x"], []), ("return KEYS[1+1]", ["x", "y", "z"], []),
        ("do local x = 1 end local x, y = 2 return y", [], []),
        ("local a, b = 1, 2, 3 return a .. b", [], []), ("return ('x')", [], []),
        ("local x = 'a' x = x .. x return x;", [], []), ("return 3 .. 4", [], []),
        ("return #'abc' + #ARGV[1]", [], ["xy"]), ("return ARGV[1]", [], [b"bin\0\xff"]),
        ("return 99999999999999 .. ''", [], []), ("return '\\z' .. '\\x41'", [], []),
        ("local x = 1 for x = 5, 6 do end return x", [], []), ("return (1 + 2) * 3", [], []))],
    "scripts that are wrong": [
        script("return 1", -1), script("return 1", 2), script("return 1", "x"), a("EVAL", "return 1"),
        script("return redis.call('publish','a')", 0),
        script("return redis.call('publish','a','b','c')", 0),
        script("return\nredis.call('publish',ARGV[1],'c')", 0),
        script("return redis.pcall('publish','a')", 0),
        script("local r = redis.pcall('publish','a') return 'on'", 0),
        script("for i=1,ARGV[1] do end", 0, "y"), script("return 'a' .. ARGV[9]", 0, **LUA),
        script("return 1 + ARGV[1]", 0, "z", **LUA), script("return (", 0, **LUA),
        script("return redis.call('get', 'k')", 0, **ONLY), script("if 1 then end", 0, **ONLY),
        a("EVAL_RO", "return redis.call('publish','a','b')", 0, **ONLY),
        a("FCALL", "x", 0), a("FCALL_RO", "x", 0)],
    "scripts within a transaction": [
        b("SUBSCRIBE", "a"),
        raw(encode("MULTI") + encode("EVAL", COUNTS, 2, "a", "b", "x") + encode("ECHO", "y")
            + encode("EVAL", "return redis.call('publish','a','2')", 0) + encode("EXEC")),
        see("b"), raw(encode("MULTI") + encode("EVALSHA", UNKNOWN, 0)
                      + encode("PUBLISH", "a", "z") + encode("EXEC")), see("b"),
        raw(encode("MULTI") + encode("EVAL", "x") + encode("EXEC"))],
    "silent scripts": [
        raw(encode("CLIENT", "REPLY", "SKIP") + encode("EVAL", COUNTS, 1, "a", "x")
            + encode("EVAL", COUNTS, 1, "a", "x"))],
    "parameters": [step for name, values in (
        ("timeout", ("200", "0", "-1", "x", "2147483648")),
        ("tcp-keepalive", ("60", "300", "-1", "x")),
        ("loglevel", ("warning", "debug", "loud", "notice")),
        ("client-output-buffer-limit", (
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 16777216 8388608 30",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            "pubsub 1 1", "queue 1 1 1")),
        ("maxclients", ("5000", "10000")), ("notify-keyspace-events", ("",)),
        ("appendonly", ("no",)), ("maxmemory-policy", ("noeviction",))) for value in values
        for step in (a("CONFIG", "SET", name, value), a("CONFIG", "GET", name))] + [
        a("CONFIG", "SET", "timeout", "5", "timeout", "6"), a("CONFIG", "SET", "nonsense", "1"),
        a("CONFIG", "SET", "notify-keyspace-events", "AKE", same=error,
          why="there are no keys whose changes could be told")],
    "what tools ask": [
        a("TIME", same=shape, why="the time has gone on"), a("TIME", "x"), a("WAIT", 0, 0),
        a("WAIT", 1, 1), a("WAIT", "x", 0), a("WAIT", 0, "x"), a("WAIT", 0, -1), a("WAIT", 0),
        a("SLOWLOG", "GET"), a("SLOWLOG", "GET", 5), a("SLOWLOG", "LEN"), a("SLOWLOG", "RESET"),
        a("SLOWLOG"), a("SLOWLOG", "X"), a("LATENCY", "LATEST"), a("LATENCY", "HISTORY", "x"),
        a("LATENCY", "RESET"), a("LATENCY", "RESET", "x", "y"), a("LATENCY"),
        a("MEMORY", "USAGE", "x"), a("MEMORY", "PURGE"), a("MEMORY", "X"),
        a("CLIENT", "TRACKINGINFO", **SET), a("CLIENT", "UNBLOCK", 99), a("CLIENT", "UNBLOCK", "x"),
        a("CLIENT", "UNBLOCK", 99, "ERROR"), a("CLIENT", "UNBLOCK", 99, "x"),
        a("COMMAND", "GETKEYS", "EVAL", "return 1", 2, "a", "b", "c"),
        a("COMMAND", "GETKEYS", "EVALSHA", "x", 1, "a"), a("COMMAND", "GETKEYS", "PING"),
        a("COMMAND", "GETKEYS", "NONSENSE", "x"), a("COMMAND", "GETKEYS"),
        a("FUNCTION", "LIST"), a("FUNCTION", "FLUSH"), a("FUNCTION", "FLUSH", "x"),
        a("FUNCTION", "DELETE", "x"), a("FUNCTION", "KILL"), a("FUNCTION", "X"), a("FUNCTION"),
        a("ACL", "CAT"), a("ACL", "CAT", "nonsense"), a("ACL", "GETUSER", "nobody"),
        a("ACL", "GETUSER", "default", **SET), a("ACL", "LOG"), a("ACL", "LOG", 5),
        a("ACL", "LOG", "RESET"), a("ACL", "LOG", "x"), a("ACL", "DRYRUN", "default", "PING"),
        a("ACL", "DRYRUN", "nobody", "PING"), a("ACL", "DRYRUN", "default", "NONSENSE"),
        a("ACL", "DRYRUN", "default")],
    "scripts while subscribed": [a("SUBSCRIBE", "w"), script("return 'x'", 0)],
}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_replies_are_those_of_redis(server, one, name, protocol):
    compare(server, one, name, SCRIPTS[name], protocol)


def test_the_known_differences_are_few():
    reasons = {step.why for steps in SCRIPTS.values() for step in steps if step.why}
    assert len(reasons) <= 5, reasons


@pytest.mark.deadline(60)
def test_many_clients_publish_by_scripts(one):
    """Scripts of several clients take turns, and each keeps its order."""
    count, names = 30, ["many:%d" % n for n in range(300)]
    subscriber = one.wire(3, timeout=20)
    subscriber.send(encode("SUBSCRIBE", *names))
    for _ in names:
        subscriber.read()
    replies = []

    def publish(number):
        connection = one.wire(3, timeout=20)
        for _ in range(count // 10):
            connection.send(encode("EVAL", COUNTS, len(names), *names, "from %d" % number))
            replies.append(connection.read())
        connection.close()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    seen = {}
    for _ in range(count * len(names)):
        _, name, payload = subscriber.read()
        seen.setdefault(payload, []).append(name.decode())
    for thread in threads:
        thread.join(20)
    assert replies == [len(names)] * count
    assert len(seen) == 10 and all(got == names * (count // 10) for got in seen.values())
    subscriber.close()
