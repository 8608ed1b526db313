"""Clients over a Unix socket: who they are, and what becomes of the socket's file."""
import contextlib
import grp
import os
import pwd
import socket
import stat
import subprocess
import tempfile
import threading

import pytest

import mesh as harness
from mesh import Mesh, eventually, note, text
from resp import Connection, Failure
from test_drain import ended
from test_sessions import begin, payloads, resume

pytestmark = pytest.mark.mesh

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder():
    """Short, because the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield path


@contextlib.contextmanager
def one(path, extra=(), port=None):
    """A mesh of one node that listens at the path, and on a port if there is one."""
    with Mesh() as mesh:
        if port:
            node = mesh.add(extra=["--redis", "unix:" + path, *extra])
        else:
            node = mesh.add(listen={"redis": path}, extra=extra)
        node.start().wait_ready()
        yield node


def command(*extra):
    return [harness.BINARY, "node", "--mesh", "127.0.0.1:0", "--http", "off", *extra]


def refused(*extra, **options):
    """What a node says that does not start with these flags; one line."""
    done = subprocess.run(
        command(*extra), capture_output=True, text=True, timeout=20, **options)
    assert done.returncode in (1, 64), done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def cli(path, *words):
    done = subprocess.run(
        ["redis-cli", "-s", path, *words], capture_output=True, text=True, timeout=20)
    return done.stdout.strip()


def smallworld(*words, **options):
    return subprocess.run(
        [harness.BINARY, *words], capture_output=True, text=True, timeout=20, **options)


# ---- clients


def test_redis_clients_talk_over_it_with_the_whole_mesh(folder):
    path = folder + "/a.sock"
    with Mesh() as mesh:
        near = mesh.add(listen={"redis": path}).start()
        near.wait_ready()
        far = mesh.add(seeds=[near.mesh]).start()
        far.wait_ready()
        mesh.wait_members()
        for protocol in (2, 3):
            pubsub = near.client(protocol).pubsub(ignore_subscribe_messages=True)
            pubsub.subscribe("news")
            pubsub.get_message(timeout=1)
            eventually(5, lambda: far.client().publish("news", "from far") == 1)
            message = None
            while message is None:
                message = pubsub.get_message(timeout=5)
            assert message["data"] == b"from far"
            pubsub.close()
        # As Redis: a path for both ends, and the letter.
        line = near.client_list()[0]
        assert line["addr"] == line["laddr"] == path + ":0"
        assert "U" in line["flags"]
        assert cli(path, "PUBLISH", "nobody", "x") == "0"
        assert cli(path, "INFO", "server").find("tcp_port:0") > 0


@pytest.mark.parametrize("reader", ["reads", "is gone"])
def test_a_large_reply_and_a_long_pipeline_come_whole(folder, reader):
    """What a client has written before it ended is carried out, though nobody reads the replies."""
    path = folder + "/a.sock"
    count = 20_000
    with one(path) as node:
        counter = node.wire(2)
        counter.call("SUBSCRIBE", "a")
        sender = node.wire(2)
        data = b"PUBLISH a x\r\n" * count
        if reader == "reads":
            def read():
                for _ in range(count):
                    assert sender.read() == 1
            thread = threading.Thread(target=read)
            thread.start()
            sender.send(data)
            thread.join()
        else:
            # CLIENT REPLY OFF: there is nothing whose reader could be missed.
            sender.send(b"CLIENT REPLY OFF\r\n" + data)
            sender.close()
        for _ in range(count):
            assert counter.read() == [b"message", b"a", b"x"]


def test_its_clients_are_operators_without_a_password(folder):
    path = folder + "/a.sock"
    password = folder + "/password"
    with open(password, "w") as file:
        file.write("secret\n")
    with one(path, ["--password-file", password], port=True) as node:
        with Connection(path) as near, Connection(node.addresses["redis"]) as far:
            assert near.call("CONFIG", "SET", "timeout", "0") == b"OK"
            assert isinstance(near.call("MESH.MEMBERS"), list)
            assert far.call("PING").startswith(b"NOAUTH")
            assert far.call("AUTH", "secret") == b"OK"
            assert far.call("CONFIG", "SET", "timeout", "0").startswith(b"NOPERM")
            # A client that gives the password here is no less than before.
            assert near.call("AUTH", "secret") == b"OK"
            assert near.call("CONFIG", "SET", "timeout", "0") == b"OK"
            assert near.call("AUTH", "wrong").startswith(b"WRONGPASS")
        assert smallworld("status", "--redis", "unix:" + path).returncode == 0
        denied = smallworld("status", "--redis", text(node.addresses["redis"]))
        assert denied.returncode == 1 and "NOAUTH" in denied.stderr
    with one(path, ["--operator-password-file", password]) as node:
        with Connection(path) as near:
            assert near.call("PING") == b"PONG"
            assert isinstance(near.call("CONFIG", "SET", "timeout", "0"), Failure)
            assert near.call("AUTH", "operator", "secret") == b"OK"
            assert near.call("CONFIG", "SET", "timeout", "0") == b"OK"


def test_status_and_trace_ask_over_it(folder):
    path = folder + "/a.sock"
    with one(path) as node:
        done = smallworld("status", "--redis", "unix:" + path, "--json")
        assert done.returncode == 0 and node.id in done.stdout
        subscriber = node.client().pubsub()
        subscriber.subscribe("news")
        subscriber.get_message(timeout=5)
        done = smallworld("trace", "channel", "news", "--redis", "unix:" + path)
        assert done.returncode == 0 and "node-0" in done.stdout, done
    done = smallworld("status", "--redis", "unix:" + path)
    assert done.returncode == 1 and "Is a node running there?" in done.stderr


def test_sessions_move_to_a_node_that_has_no_address(folder):
    """`moved` names none, and the session goes there under its token."""
    with Mesh() as mesh:
        first = mesh.add(listen={"redis": folder + "/a.sock"}).start()
        first.wait_ready()
        second = mesh.add(seeds=[first.mesh], listen={"redis": folder + "/b.sock"}).start()
        second.wait_ready()
        mesh.wait_members()
        wire, token = begin(first, b"ann")
        first.signal(15)
        while True:
            frame = wire.read(5)
            if frame[0] == b"moved":
                break
        assert frame[1] == b""
        wire.close()
        ended(first)
        wire, _ = resume(second, b"ann", token)
        assert second.call("MESH.SEND", "ann", "hello") == 1
        assert payloads([wire.read(5)], b"ann") == [b"hello"]


# ---- the file


def test_its_file_has_mode_and_owner_and_goes_at_a_clean_end(folder):
    path = folder + "/a.sock"
    owner = ["--redis-socket-owner", "nobody:%s" % grp.getgrgid(pwd.getpwnam("nobody").pw_gid)[0]]
    for mode in ("0600", "660", "0777"):
        with one(path, ["--redis-socket-mode", mode, *(owner if IS_ROOT else [])]) as node:
            facts = os.lstat(path)
            assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == int(mode, 8)
            if IS_ROOT:
                assert facts.st_uid == pwd.getpwnam("nobody").pw_uid
            assert node.terminate() == 0
            assert os.listdir(folder) == []


def test_the_file_of_a_killed_node_is_replaced(folder):
    path = folder + "/a.sock"
    with one(path) as node:
        for _ in range(3):
            node.kill()
            assert os.path.exists(path)
            node.start().wait_ready()
            assert cli(path, "PING") == "PONG"


def test_a_second_node_at_the_same_path_is_refused(folder):
    path = folder + "/a.sock"
    with one(path) as node:
        said = refused("--redis", "unix:" + path)
        assert "unix:%s (--redis)" % path in said and "another process answers there" in said
        assert node.call("PING") == b"PONG"
        # Also while the first one stands still: the kernel answers for it.
        node.freeze()
        assert "another process answers there" in refused("--redis", "unix:" + path)
        node.thaw()
        assert node.call("PING") == b"PONG"
        assert node.terminate() == 0
    assert not os.path.exists(path)


def test_a_file_that_is_no_socket_is_left_alone(folder):
    path = folder + "/a.sock"
    with open(path, "w") as file:
        file.write("mine")
    assert "no socket" in refused("--redis", "unix:" + path)
    with open(path) as file:
        assert file.read() == "mine"


def test_a_socket_of_another_process_is_left_alone(folder):
    path = folder + "/a.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(0)
        # Until its queue is full: it still answers.
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
            waiting.append(client)
        assert "another process answers there" in refused("--redis", "unix:" + path)
        for client in waiting:
            client.close()
    assert os.path.exists(path)


def test_what_cannot_be_is_said_in_a_line(folder):
    assert "make its directory first" in refused("--redis", "unix:%s/none/a.sock" % folder)
    long = "%s/%s" % (folder, "x" * 107)
    assert "has a path of %d bytes: the kernel takes 107 at most" % len(long) in refused(
        "--redis", "unix:" + long)
    mine = "unix:%s/a.sock" % folder
    assert "octal" in refused("--redis", mine, "--redis-socket-mode", "0888")
    assert "names no user" in refused("--redis", mine, "--redis-socket-owner", "no-such-user")
    assert "one too many" in refused("--redis", mine, "--redis", mine)
    assert os.listdir(folder) == []


def test_rights_hold(folder):
    path = folder + "/a.sock"
    if not IS_ROOT:
        note("rights of other users over the Unix socket", "not tried: only root becomes one")
        return
    with one(path, ["--redis-socket-mode", "0600"]):
        said = smallworld("status", "--redis", "unix:" + path, user="nobody")
        assert said.returncode == 1 and "Permission denied" in said.stderr
        # Whether anybody answers there cannot be seen, so it is left alone.
        assert "Address already in use" in refused("--redis", "unix:" + path, user="nobody")
        assert cli(path, "PING") == "PONG"
    # The node was killed, and its file stays.
    os.unlink(path)
    assert "may not make files" in refused("--redis", "unix:" + path, user="nobody")
    os.chmod(folder, 0o777)
    said = refused("--redis", "unix:" + path, "--redis-socket-owner", "root", user="nobody")
    assert "only root gives files to other users" in said
    assert os.listdir(folder) == []
