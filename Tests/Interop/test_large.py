"""Large messages between real nodes: beside small ones, in their client's order, and through a node
that dies in the middle."""
import threading
import time

import pytest

from mesh import Mesh, Subscriber, eventually, note
from resp import encode

pytestmark = pytest.mark.mesh
MEBIBYTE = 1024 * 1024


@pytest.fixture
def unbounded():
    """A subscriber's output limit, 32 MiB, is less than the largest message has."""
    return lambda node: node.call(
        "CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")


def test_small_messages_pass_a_large_one(unbounded):
    with Mesh(2) as nodes:
        unbounded(nodes[1])
        delays, ended = [], threading.Event()
        with Subscriber(nodes[1], 2, ["big"]) as big, \
                Subscriber(nodes[1], 2, ["small"]) as small:
            publisher = nodes[0].client()

            def publish():
                payload = b"x" * (64 * MEBIBYTE)
                for _ in range(3):
                    publisher.publish("big", payload)
                ended.set()

            thread = threading.Thread(target=publish, daemon=True)
            other = nodes[0].client()
            other.publish("small", b"first")
            small.wait_count(1)
            thread.start()
            while not ended.is_set() or len(big.messages) < 3:
                count = len(small.messages)
                start = time.monotonic()
                other.publish("small", b"%f" % start)
                small.wait_count(count + 1, within=20)
                delays.append(time.monotonic() - start)
                assert time.monotonic() < start + 20
                big.check()
                time.sleep(0.002)
            thread.join(30)
            assert [len(message[3]) for message in big.messages] == [64 * MEBIBYTE] * 3
        delays.sort()
        note("a small message beside 64 MiB, nine of ten within", delays[len(delays) * 9 // 10])
        note("the same, the longest", delays[-1])
        # Both nodes and the test itself copy 64 MiB at a time, on the processors that they share.
        assert delays[len(delays) * 9 // 10] < 0.5, delays[-5:]
        for node in nodes:
            assert node.status()["deaths"] == 0


def test_one_clients_messages_keep_their_order_whatever_their_size():
    sizes = [16, 300_000, 16, 16, 2 * MEBIBYTE, 16, 70_000, 65_536, 16, 1_000_000, 16] * 4
    with Mesh(2) as nodes:
        with Subscriber(nodes[1], 2, ["mixed"]) as subscriber:
            wire = nodes[0].wire(2, timeout=30)
            for number, size in enumerate(sizes):
                wire.send(encode("PUBLISH", "mixed", b"%09d" % number + b"." * (size - 9)))
            subscriber.wait_count(len(sizes), within=30)
            found = [(int(data[:9]), len(data)) for _, _, _, data in subscriber.messages]
            assert found == list(enumerate(sizes))


def test_a_forwarder_dies_in_the_middle_of_a_large_message(unbounded):
    with Mesh(9, extra=["--degree", "4"]) as nodes:
        nodes.wait_links_settled()
        peers = {node.id: {row["peer"] for row in node.rows("MESH.LINKS")} for node in nodes}
        first = nodes[0]
        far = next(node for node in nodes
                   if node is not first and node.id not in peers[first.id])
        unbounded(far)
        with Subscriber(far, 2, ["big"]) as subscriber:
            eventually(5, lambda: first.call("PUBSUB", "NUMSUB", "big") == [b"big", 1])
            size = 64 * MEBIBYTE
            publisher = first.client()
            before = {node: node.status()["messagesForwarded"] for node in nodes}
            thread = threading.Thread(
                target=publisher.publish, args=("big", b"x" * size), daemon=True)
            thread.start()
            victim = None
            deadline = time.monotonic() + 20
            while victim is None and time.monotonic() < deadline and not subscriber.messages:
                for node in nodes:
                    if node not in (first, far) and \
                            node.status()["messagesForwarded"] > before[node] + 20:
                        victim = node
                        break
            assert victim is not None, "nobody forwards"
            victim.kill()
            note("a large message whose forwarder died", subscriber.wait_count(1, within=30))
            thread.join(10)
            assert [len(message[3]) for message in subscriber.messages] == [size]
