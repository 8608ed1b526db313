"""Nothing lost, nothing twice, nothing out of order, while nodes die.

The servers, the faults and the load are those of Tests/Bench/chaos.py, which also runs NATS and
Redis Cluster under them. CHAOS_SECONDS and CHAOS_RATE change the length and the rate of the load;
the full length is CHAOS_SECONDS=60.
"""
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

import mesh as harness
import resp
from mesh import note

sys.path.append(os.path.join(harness.ROOT, "Tests", "Bench"))
import chaos  # noqa: E402

pytestmark = pytest.mark.mesh
SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
RATE = int(os.environ.get("CHAOS_RATE", "20000"))


@pytest.mark.deadline(int(SECONDS) + 240)
def test_nothing_is_lost_while_nodes_die_freeze_and_links_are_reset():
    # Only counts are asserted: a slow machine makes everything late, and nothing wrong. Late is
    # what comes while anything still comes within 30 s.
    result = chaos.run("smallworld", SECONDS, RATE, drain=30)
    harness.reports.append(result.pop("tail"))
    note("chaos: killed, frozen, connections reset", "%(killed)d, %(frozen)d, %(resets)d" % result)
    note("chaos: copies due, lost, twice, out of order",
         "%(copies)d, %(lost)d, %(duplicated)d, %(reordered)d" % result)
    note("chaos: latency p50, p99, max (ms)",
         "%(p50).1f, %(p99).1f, %(max).1f" % result["latencyMilliseconds"])
    note("chaos: the longest that a publisher's socket took nothing",
         result["longestStuckSeconds"])

    # The faults took place, and messages did pass the nodes that they were done to.
    assert result["killed"] >= SECONDS // 5 and result["frozen"] >= 1, result
    assert result["resets"] >= SECONDS / 4 and result["connectionsReset"] >= SECONDS / 4, result
    assert result["forwarded"] > 0, result
    assert result["fallen"] == 0, "a node ended that nobody killed: %s" % result

    # Publishers were slowed at most, never blocked: all that they sent was taken and answered.
    assert result["unsentBytes"] == 0 and result["unanswered"] == 0, result
    assert result["disconnected"] == 0 and result["errors"] == 0, result
    assert result["sent"] + result["withheld"] == int(SECONDS * RATE), result
    assert result["sent"] >= SECONDS * RATE / 2, result

    wrong = {key: result[key] for key in ("lost", "duplicated", "reordered", "misrouted")}
    assert wrong == {"lost": 0, "duplicated": 0, "reordered": 0, "misrouted": 0}, result


class Unreliable(threading.Thread):
    """A publish/subscribe server that loses, doubles and swaps copies, and knows how many."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self.listener.getsockname()
        self.subscribers = {}
        self.lock = threading.Lock()
        self.copies = self.lost = self.doubled = self.swapped = 0
        self.held = {}

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = bytearray()
        while True:
            try:
                received = connection.recv(1 << 16)
            except OSError:
                return
            if not received:
                return
            data += received
            at = 0
            while at < len(data):
                try:
                    words, at = resp.decode(data, at)
                except resp.Incomplete:
                    break
                with self.lock:
                    self.obey(connection, *words)
            del data[:at]

    def obey(self, connection, verb, channel, payload=None):
        if verb == b"SUBSCRIBE":
            self.subscribers.setdefault(channel, []).append(connection)
            connection.sendall(resp.encode("subscribe", channel))
            return
        for subscriber in self.subscribers.get(channel, []):
            copy = resp.encode("message", channel, payload)
            # Bytes 4 … 8 are the number; probes have the highest.
            if payload[4:8] == b"\xff\xff\xff\xff":
                subscriber.sendall(copy)
                continue
            self.copies += 1
            key = (subscriber, channel, payload[:2])
            if key in self.held:
                copy += self.held.pop(key)
                self.swapped += 1
            elif self.copies % 50 == 0:
                self.lost += 1
                continue
            elif self.copies % 70 == 0:
                self.doubled += 1
                copy += copy
            elif self.copies % 90 == 0:
                self.held[key] = copy
                continue
            subscriber.sendall(copy)
        connection.sendall(b":1\r\n")


def test_the_load_generator_finds_what_was_lost_doubled_and_swapped(tmp_path):
    server = Unreliable()
    server.start()
    try:
        address = "%s:%d" % server.address
        done = subprocess.run(
            [chaos.load_program(str(tmp_path)), "--pub", address, "--sub", address, "--rate",
             "2000", "--seconds", "2", "--drain", "1", "--publishers", "4", "--subscribers", "4",
             "--lead", "0.2"],
            capture_output=True, text=True, timeout=60)
    finally:
        server.listener.close()
    result = json.loads(done.stdout.partition("\n")[2])
    assert result["sent"] == 4000
    assert server.lost > 20 and server.doubled > 20 and server.swapped > 20
    # What was still held back at the end never came.
    assert result["lost"] == server.lost + len(server.held)
    assert result["duplicated"] == server.doubled
    assert result["reordered"] == server.swapped
    assert result["copies"] == server.copies
    assert (result["misrouted"], result["errors"], result["unanswered"]) == (0, 0, 0)
