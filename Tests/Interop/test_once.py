"""Messages that their senders send again under one id, over another node, because theirs was killed: none is
lost, none comes twice. And the options of messages, on the command line and with real nodes."""
import json
import subprocess
import time

import pytest

import mesh as harness
from mesh import Mesh, note, text
from resp import encode

pytestmark = pytest.mark.mesh
SENDERS = 8
#: Messages that a sender has sent before it reads the answers.
BURST = 25
BURSTS = 24
#: The entry node is killed in the middle of one of these.
KILLED_AT = 9


@pytest.fixture
def four():
    with Mesh(4) as mesh:
        yield mesh


def drained(wire, quiet=1.0):
    """Everything that comes to a connection, until nothing does for a while."""
    values = []
    while True:
        try:
            values.append(wire.read(timeout=quiet))
        except OSError:
            return values


def test_a_killed_entry_node_loses_and_doubles_nothing_of_what_is_sent_again(four):
    """To users, in a room and on a channel. The node of the senders is killed while they send; they go to
    another and send again what was not answered, and what was in the last bursts before: an answer says that
    the node has taken a message, and it may have died with it."""
    users = ["u%d" % number for number in range(SENDERS)]
    receivers = []
    for number, user in enumerate(users):
        wire = four[1 + number % 3].wire(3)
        assert wire.call("MESH.ATTACH", user) == b"OK"
        assert wire.call("MESH.JOIN", "lobby") == 1
        wire.send(encode("SUBSCRIBE", "news"))
        assert wire.read()[:2] == [b"subscribe", b"news"]
        receivers.append(wire)

    def command(sender, number):
        word, more = "%d %d" % (sender, number), ("ONCE", number, "FROM", users[sender])
        kind = number % 3
        if kind == 0:
            return ("MESH.SEND", users[(sender + number // 3) % SENDERS], word, *more)
        return ("MESH.SAY", "lobby", word, *more) if kind == 1 else (
            "MESH.PUBLISH", "news", word, *more)

    wires = [four[0].wire(3) for _ in range(SENDERS)]
    again = 0
    for burst in range(BURSTS):
        first = burst * BURST
        for sender, wire in enumerate(wires):
            wire.send(b"".join(encode(*command(sender, first + i)) for i in range(BURST)))
        if burst == KILLED_AT:
            four[0].kill()
            wires = [four[1 + sender % 3].wire(3) for sender in range(SENDERS)]
            for sender, wire in enumerate(wires):
                numbers = range(max(0, first - 3 * BURST), first + BURST)
                again += len(numbers)
                wire.send(b"".join(encode(*command(sender, number)) for number in numbers))
                for _ in numbers:
                    assert isinstance(wire.read(), int)
            continue
        for wire in wires:
            for _ in range(BURST):
                assert isinstance(wire.read(), int)
    expected = [[] for _ in users]
    for sender in range(SENDERS):
        for number in range(BURST * BURSTS):
            word = b"%d %d" % (sender, number)
            if number % 3 == 0:
                expected[(sender + number // 3) % SENDERS].append(word)
            else:
                for one in expected:
                    one.append(word)
    duplicates = sum(four[i].metric("smallworld_once_duplicates_total") for i in (1, 2, 3))
    for number, wire in enumerate(receivers):
        got = sorted(value[2] for value in drained(wire))
        assert got == sorted(expected[number]), users[number]
    assert duplicates > 0
    note("once, entry node killed", "%d sent again, %d had come, 0 lost, 0 doubled" % (
        again, duplicates))


def test_the_command_line_says_who_has_sent_a_message(four):
    def run(*words, **options):
        return subprocess.run(
            [harness.BINARY, *words], capture_output=True, text=True, timeout=30, **options)

    def at(index):
        return ["--redis", text(four[index].addresses["redis"])]

    listener = subprocess.Popen(
        [harness.BINARY, "sub", "--user", "bob", "--room", "lobby", "--count", "3", "--json", *at(1)],
        stdout=subprocess.PIPE, text=True)
    try:
        asker = four[2].wire(3)
        deadline = time.monotonic() + 10
        while asker.call("MESH.COUNT", "lobby")[0] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        before = time.time() * 1000 - 5_000
        for _ in range(2):
            sent = run("send", "bob", "hi", "--from", "ann", "--once", "7", *at(2))
            assert (sent.returncode, sent.stdout) == (0, "1\n"), sent
        said = run("say", "lobby", "--from", "ann", "--once", "x", *at(3), input="a\nb\n")
        assert (said.returncode, said.stdout) == (0, "1\n1\n"), said
        lines = [json.loads(line) for line in listener.stdout.read().splitlines()]
        assert listener.wait(timeout=10) == 0
    finally:
        listener.kill()
        listener.stdout.close()
        listener.wait()
    assert [line["message"] for line in lines] == ["hi", "a", "b"]
    assert [line["from"] for line in lines] == ["ann"] * 3
    assert all(before < line["at"] < before + 60_000 for line in lines)
