"""What clients may do, and what all of them together may take, on real nodes.

Two users with passwords in files; and `--memory`, against clients that send without an end and
clients that read nothing.
"""
import contextlib
import subprocess
import time

import pytest
import redis

import mesh as harness
import resp
from mesh import Mesh, eventually, note

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(120)]
MEBIBYTE = 1 << 20


@pytest.fixture
def passwords(tmp_path):
    files = []
    for flag, secret in (("--password-file", "first"), ("--operator-password-file", "second")):
        path = tmp_path / flag.strip("-")
        path.write_text(secret + "\n")
        files += [flag, str(path)]
    return files


@contextlib.contextmanager
def guarded(passwords):
    """A node of its own, once it is ready; it answers no stranger's question whether it is."""
    with Mesh(extra=passwords) as mesh:
        node = mesh.add()
        node.start()
        node.wait_listening()
        eventually(10, lambda: node.http("/readyz")[0] == 200)
        yield node


def test_default_and_operator_have_passwords_and_different_rights(passwords):
    with guarded(passwords) as node:
        stranger = node.wire()
        for words in (("PING",), ("SUBSCRIBE", "a"), ("MESH.ATTACH", "boss"), ("MESH.STATUS",)):
            assert b"NOAUTH" in stranger.call(*words), words
        with pytest.raises(redis.AuthenticationError):
            node.client(password="second").ping()

        client = node.client(password="first")
        assert client.ping() and client.publish("a", "x") == 0
        assert client.execute_command("MESH.ATTACH", "ann") in (b"OK", True)
        assert client.acl_whoami() == b"default"
        for words in (("CONFIG", "SET", "timeout", "0"), ("CLIENT", "KILL", "TYPE", "pubsub"),
                      ("MONITOR",), ("MESH.MEMBERS",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
        assert len(client.client_list()) == 1, "it sees itself alone"

        operator = node.client(username="operator", password="second")
        assert operator.config_set("timeout", 0)
        assert operator.acl_whoami() == b"operator"
        assert {one["user"] for one in operator.client_list()} >= {"default", "operator"}


def test_status_takes_the_operators_password(passwords):
    with guarded(passwords) as node:
        address = "%s:%d" % node.addresses["redis"]
        command = [harness.BINARY, "status", "--redis", address]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert refused.returncode == 1 and "--operator-password-file" in refused.stderr
        shown = subprocess.run(
            command + passwords[2:], capture_output=True, text=True, timeout=20)
        assert shown.returncode == 0 and "Members" in shown.stdout, shown.stderr


def test_commands_that_never_end_do_not_fill_the_memory():
    with Mesh(1, extra=["--memory", "64mb"]) as mesh:
        node = mesh[0]
        before = node.resident()
        head = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$%d\r\n" % (8 * MEBIBYTE)
        hogs = [node.wire() for _ in range(20)]
        for hog in hogs:
            hog.send(head + bytes(7 * MEBIBYTE))
        grown = node.resident() - before
        note("20 unfinished commands of 7 MiB take MiB", grown >> 20)
        assert grown < 48 * MEBIBYTE
        assert node.call("PING") == b"PONG"
        # A client that was refused is told so, may end the command, and goes on.
        refused = [hog for hog in hogs if hog.waiting(quiet=0.1)]
        assert len(refused) >= 18, len(refused)
        refused[0].send(bytes(MEBIBYTE) + b"\r\n")
        assert refused[0].call("PING") == b"PONG"
        too_long = node.wire()
        answer = str(too_long.call("PUBLISH", "c", bytes(9 * MEBIBYTE)))
        assert "8388608" in answer and "--message-max" in answer, answer
        for hog in hogs:
            hog.close()
        assert node.metric("smallworld_commands_given_up_total") == len(refused)


def test_clients_that_read_nothing_do_not_fill_the_memory():
    with Mesh(2, extra=["--memory", "128mb"]) as mesh:
        node, other = mesh
        before = node.resident()
        idle = [node.wire() for _ in range(40)]
        for number, client in enumerate(idle):
            client.send(resp.encode("SUBSCRIBE", "flood"))
            assert client.reply()
        modest = node.wire()
        assert modest.call("SUBSCRIBE", "modest")
        publisher = other.wire()
        peak = 0
        for _ in range(24):
            publisher.call("PUBLISH", "flood", bytes(MEBIBYTE), timeout=30)
            peak = max(peak, node.resident() - before)
        note("40 subscribers that do not read 24 MiB each take MiB", peak >> 20)
        assert peak < 192 * MEBIBYTE
        assert eventually(10, lambda: node.metric("smallworld_clients_ended_for_memory_total") > 0)
        # Others are served.
        assert publisher.call("PUBLISH", "modest", "x") >= 0
        deadline = time.monotonic() + 10
        while not (reply := modest.reply(timeout=10)) or b"modest" not in list(reply):
            assert time.monotonic() < deadline
        assert node.call("PING") == b"PONG"
