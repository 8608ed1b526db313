"""Requests over real nodes: providers that answer, are killed with requests, and come again."""
import signal
import subprocess
import sys
import threading
import time

import pytest

from mesh import HERE, Mesh, eventually, note
from processes import die_with_parent
from resp import Failure, encode

pytestmark = pytest.mark.mesh

#: A worker: it serves `work`, one request at a time, and answers each with its payload and its own process id.
WORKER = """
import os, sys
sys.path.insert(0, %r)
from resp import Connection, Push, encode
wire = Connection(("127.0.0.1", int(sys.argv[1])), protocol=3, timeout=3600)
wire.send(encode("MESH.SERVE", "work", "CONCURRENCY", "1"))
delay = float(sys.argv[2])
import time
while True:
    value = wire.read()
    if isinstance(value, Push) and value[0] == b"request":
        time.sleep(delay)
        wire.send(encode("MESH.REPLY", value[1], value[4] + b" by " + str(os.getpid()).encode()))
""" % HERE


def worker(node, delay=0.0):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(node.addresses["redis"][1]), str(delay)],
        preexec_fn=die_with_parent)


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def ask(wire, payload, *options):
    return wire.call("MESH.REQUEST", "SERVICE", "work", payload, *options, timeout=30)


@pytest.mark.deadline(60)
def test_a_request_goes_to_another_node_and_back():
    with Mesh(2) as mesh:
        process = worker(mesh[1])
        try:
            wire = mesh[0].wire(3)
            reply = ask(wire, "x", "WAIT", "TIMEOUT", "10000")
            assert reply == b"x by %d" % process.pid
            large = b"y" * 1_000_000
            assert ask(wire, large) == large + b" by %d" % process.pid
            assert mesh[0].metric("smallworld_requests_total", outcome="answered") == 2
        finally:
            end(process)
        eventually(5, lambda: isinstance(ask(wire, "z"), Failure))
        assert ask(wire, "z").startswith(b"NOSERVICE ")


@pytest.mark.deadline(60)
def test_a_killed_provider_is_told_of_at_once_and_its_node_s_death_soon():
    with Mesh(3) as mesh:
        for kills_node in (False, True):
            process = worker(mesh[1], delay=3600)
            try:
                wire = mesh[0].wire(3)
                wire.send(encode("MESH.REQUEST", "SERVICE", "work", "x", "WAIT", "TIMEOUT", "20000"))
                eventually(
                    10, lambda: mesh[1].metric("smallworld_requests_taken") == 1)
                start = time.monotonic()
                if kills_node:
                    mesh[1].kill()
                else:
                    end(process)
                reply = wire.reply(10)
                assert isinstance(reply, Failure) and reply.startswith(b"DIED "), reply
                note("a killed %s told after" % ("node" if kills_node else "provider"),
                     time.monotonic() - start)
                wire.close()
            finally:
                end(process)


@pytest.mark.deadline(120)
def test_with_retry_nothing_fails_while_a_provider_lives():
    with Mesh(3) as mesh:
        steady = worker(mesh[2])
        passing = []
        results, failures = [], []
        stop = threading.Event()
        lock = threading.Lock()

        def keep_asking(index):
            wire = mesh[0].wire(3)
            number = 0
            while not stop.is_set():
                payload = b"%d.%d" % (index, number)
                reply = ask(wire, payload, "RETRY", "TIMEOUT", "20000")
                with lock:
                    if isinstance(reply, Failure):
                        failures.append(reply)
                    else:
                        assert reply.split(b" by ")[0] == payload, reply
                        results.append(reply)
                number += 1
            wire.close()

        wire = mesh[0].wire(3)
        assert b"first" in ask(wire, "first", "WAIT", "TIMEOUT", "10000")
        threads = [threading.Thread(target=keep_asking, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + 12
            while time.monotonic() < deadline:
                passing.append(worker(mesh[len(passing) % 2], delay=0.002))
                time.sleep(0.3)
                if len(passing) > 2:
                    end(passing[-3])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            for process in passing + [steady]:
                end(process)
        assert failures == []
        assert len(results) > 100
        assert mesh[0].metric("smallworld_requests_total", outcome="died") == 0
        attempts = mesh[0].metric("smallworld_request_attempts_total")
        note("requests answered, and more attempts than those",
             "%d, %d" % (len(results), attempts - len(results) - 1))


def read_until(wire, word, within=10):
    """The next array or push that begins with a word."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        value = wire.read()
        if isinstance(value, list) and value and value[0] == word:
            return value
    raise AssertionError("no %r" % word)


@pytest.mark.deadline(60)
def test_users_and_rooms_are_asked_in_either_protocol():
    with Mesh(3) as mesh:
        people = []
        for index, (node, protocol) in enumerate(zip(mesh, (2, 3, 2))):
            wire = node.wire(protocol)
            assert wire.call("MESH.ATTACH", "u%d" % index) == b"OK"
            assert wire.call("MESH.JOIN", "hall") == 1
            people.append(wire)
        asker = mesh[0].wire(3)
        # One user, in RESP2: the request is an array.
        asker.send(encode("MESH.REQUEST", "USER", "u2", "x", "TIMEOUT", "10000", "WAIT"))
        request = read_until(people[2], b"request")
        assert request[2:] == [b"user", b"u2", b"x"]
        assert people[2].call("MESH.REPLY", request[1], "y") == 1
        assert asker.reply(10) == b"y"
        # All in the room; one of them dies.
        asker.send(encode("MESH.REQUEST", "ROOM", "hall", "all?", "ALL", "TIMEOUT", "20000"))
        for wire in people[:2]:
            request = read_until(wire, b"request")
            assert request[2:] == [b"room", b"hall", b"all?"]
            wire.send(encode("MESH.REPLY", request[1], "here"))
        read_until(people[2], b"request")
        start = time.monotonic()
        mesh[2].kill()
        answers = asker.reply(15)
        note("a request to all told of a killed node after", time.monotonic() - start)
        assert sorted(answer[1] for answer in answers) == [b"DIED", b"OK", b"OK"]
        nobody = asker.call("MESH.REQUEST", "ROOM", "empty", "x")
        assert isinstance(nobody, Failure) and nobody.startswith(b"NOSERVICE ")


@pytest.mark.deadline(60)
def test_an_answer_in_parts_and_the_list_of_services():
    with Mesh(2) as mesh:
        provider, asker = mesh[1].wire(3), mesh[0].wire(3)
        assert provider.call("MESH.SERVE", "parts", "CONCURRENCY", "2") == b"OK"
        assert asker.call("MESH.REQUEST", "SERVICE", "parts", "x", "WAIT", "STREAM", "t") == b"OK"
        request = read_until(provider, b"request")
        pieces = [b"a" * 300_000, b"b", b"c" * 100_000, b"d"]
        for piece in pieces[:-1]:
            provider.send(encode("MESH.REPLY", request[1], piece, "MORE"))
        provider.send(encode("MESH.REPLY", request[1], pieces[-1]))
        for piece in pieces[:-1]:
            assert read_until(asker, b"part") == [b"part", b"t", piece]
        assert read_until(asker, b"reply") == [b"reply", b"t", b"OK", b"d"]
        rows = asker.call("MESH.SERVICES", "par*")
        assert [row[0] for row in rows] == [b"parts"]
        assert rows[0][2:7] == [1, 0, 0, 1, 0] and rows[0][7] > 0


@pytest.mark.deadline(90)
def test_a_node_that_leaves_is_asked_no_more_and_finishes_what_it_has():
    with Mesh(3) as mesh:
        slow = mesh[1].wire(3)
        assert slow.call("MESH.SERVE", "work", "CONCURRENCY", "4") == b"OK"
        asker = mesh[0].wire(3)
        asker.send(encode("MESH.REQUEST", "SERVICE", "work", "first", "WAIT", "TIMEOUT", "30000"))
        request = read_until(slow, b"request")
        process = worker(mesh[2])
        try:
            other = mesh[0].wire(3)
            eventually(10, lambda: len(other.call("MESH.SERVICES")) == 2)
            mesh[1].signal(signal.SIGTERM)
            time.sleep(0.3)
            for number in range(20):
                assert ask(other, b"%d" % number).endswith(b" by %d" % process.pid)
            slow.send(encode("MESH.REPLY", request[1], "done"))
            assert asker.reply(10) == b"done"
        finally:
            end(process)
