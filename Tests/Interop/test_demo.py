"""`smallworld demo`: ends by itself with a sound summary, ends when it is told to, leaves nothing."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from mesh import BINARY, die_with_parent, eventually, note
import resp

pytestmark = pytest.mark.mesh


class Demo:
    """A running demo and what it has printed; ended with the block."""

    def __init__(self, *arguments, size=None, **environment):
        self.printed = b""
        environment = {**os.environ, "TERM": "xterm-256color", **environment}
        if size:
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            stdin = theirs
        else:
            ours, theirs = os.pipe()
            stdin = subprocess.DEVNULL
        self.output = ours
        self.process = subprocess.Popen(
            [BINARY, "demo", *arguments], stdin=stdin, stdout=theirs, stderr=theirs,
            env=environment, preexec_fn=die_with_parent, start_new_session=True)
        os.close(theirs)

    def read(self, within):
        """More of the output; False when there will be none."""
        if not select.select([self.output], [], [], within)[0]:
            return True
        try:
            piece = os.read(self.output, 65_536)
        except OSError:  # So a terminal tells its end.
            return False
        self.printed += piece
        return bool(piece)

    @property
    def text(self):
        return self.printed.decode(errors="replace")

    def wait_for(self, pattern, within=20.0):
        """Reads until the output matches."""
        end = time.monotonic() + within
        while True:
            found = re.search(pattern, self.text, re.MULTILINE)
            if found:
                return found
            assert time.monotonic() < end and self.read(0.1), \
                "%r is not in the output:\n%s" % (pattern, self.text)

    def wait_end(self, within=20.0):
        """Reads to the end; the exit status."""
        end = time.monotonic() + within
        while time.monotonic() < end and self.read(0.1):
            pass
        return self.process.wait(max(end - time.monotonic(), 1))

    def nodes(self):
        """The process ids of its nodes."""
        with open("/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)) as main:
            children = main.read().split()
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            with open("/proc/%d/task/%s/children" % (self.process.pid, task)) as file:
                children += file.read().split()
        return sorted({int(child) for child in children})

    def figure(self, name):
        """A number of the summary."""
        found = re.search(r"^  %s +([0-9,.]+)" % name, self.text, re.MULTILINE)
        assert found, "no %r in the summary:\n%s" % (name, self.text)
        return float(found[1].replace(",", ""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.output)


def runs(pid):
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def milliseconds(text):
    return float(text) / 1_000


def test_twelve_seconds_of_five_nodes_are_sound():
    with Demo("--nodes", "5", "--seconds", "12") as demo:
        demo.wait_for(r"redis-cli -p \d+ .*SUBSCRIBE lobby.*MESH\.SEND ann hello")
        demo.wait_for(r"^ 0:0[12] ")
        nodes = demo.nodes()
        assert len(nodes) == 5 and all(runs(node) for node in nodes)
        assert demo.wait_end(within=30) == 0, demo.text
        eventually(2, lambda: not any(runs(node) for node in nodes))

        assert demo.text.rstrip().endswith("Sound.")
        assert "\x1b" not in demo.text, "no escape sequences into a pipe"
        seconds = re.findall(r"^ 0:\d\d  \d nodes  sent ([\d,]+)/s", demo.text, re.MULTILINE)
        assert 11 <= len(seconds) <= 13, demo.text
        assert demo.figure("sent") > 2_000 and demo.figure("delivered") > 2_000
        for name in ("lost", "duplicates", "out of order"):
            assert demo.figure(name) == 0, demo.text
        copies = int(re.search(r"([\d,]+) copies$", demo.text, re.MULTILINE)[1].replace(",", ""))
        accounted = sum(map(demo.figure, ("delivered", "lost", "died with a node", "refused")))
        assert accounted == copies, "every copy has one fate:\n" + demo.text
        assert 1.0 <= demo.figure("mean hops") <= 1.1
        killed = re.search(r"^  node (\d) killed after [\d.]+ s\n"
                           r"    dropped by all others +([\d.]+) ms", demo.text, re.MULTILINE)
        assert killed and killed[1] != "1", "guests join at the first node:\n" + demo.text
        assert milliseconds(killed[2]) <= 1.0
        note("demo: a killed node dropped by all four others after", milliseconds(killed[2]))


@pytest.mark.turn
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_summary(number):
    with Demo("--nodes", "3") as demo:
        demo.wait_for(r"^ 0:02 ")
        nodes = demo.nodes()
        demo.process.send_signal(number)
        assert demo.wait_end(within=8) == 0, demo.text
        assert demo.text.rstrip().endswith("Sound.")
        assert not any(runs(node) for node in nodes)


def test_a_signal_while_it_starts_ends_it():
    with Demo("--nodes", "20") as demo:
        demo.wait_for("redis-cli")
        nodes = demo.nodes()
        demo.process.send_signal(signal.SIGTERM)
        assert demo.wait_end(within=8) == 128 + signal.SIGTERM, demo.text
        assert not any(runs(node) for node in nodes)


def test_its_nodes_die_with_it_even_if_it_is_killed():
    with Demo("--nodes", "4") as demo:
        demo.wait_for(r"^ 0:01 ")
        nodes = demo.nodes()
        assert len(nodes) == 4
        os.kill(nodes[2], signal.SIGSTOP)  # Also one that cannot do anything itself.
        demo.process.kill()
        eventually(2, lambda: not any(runs(node) for node in nodes))


def test_a_node_that_ends_by_itself_is_not_sound():
    with Demo("--nodes", "4", "--seconds", "5") as demo:
        demo.wait_for(r"^ 0:01 ")
        os.kill(demo.nodes()[1], signal.SIGKILL)
        assert demo.wait_end(within=20) == 1, demo.text
        assert re.search(r"NOT sound:\n(.*\n)*  node \d ended by itself", demo.text)


def test_guests_can_join():
    with Demo("--nodes", "3") as demo:
        port = int(demo.wait_for(r"redis-cli -p (\d+)")[1])
        demo.wait_for(r"^ 0:01 ")
        listener = resp.Connection(("127.0.0.1", port), 2, 10.0)
        listener.send(resp.encode("SUBSCRIBE", "lobby"))
        assert listener.read()[0] == b"subscribe"
        guest = resp.Connection(("127.0.0.1", port), 2, 10.0)
        assert guest.call("MESH.SEND", "bob", b"hello \x1b[31m") == 1
        said = [listener.read()[2] for _ in range(20)]
        assert any(b"a guest tells me: hello ?[31m" in words for words in said), said
        assert all(re.fullmatch(rb"\w+ #\d+ at \d+\.\d{6} s: .+", words) for words in said), said
        demo.wait_for(r"a guest to bob: hello \?\[31m")
        assert guest.call("PUBLISH", "lobby", "hi all") >= 1
        demo.wait_for("a guest in lobby: hi all")
        demo.process.send_signal(signal.SIGINT)
        assert demo.wait_end(within=8) == 0, demo.text
        listener.close()
        guest.close()


@pytest.mark.parametrize("colours", [True, False])
def test_the_live_view_is_drawn_in_place_and_fits(colours):
    with Demo("--nodes", "5", size=(80, 24), NO_COLOR="" if colours else "1") as demo:
        demo.wait_for("every message is checked", within=20)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            demo.read(0.1)
        shown = len(demo.printed)
        os.kill(demo.process.pid, signal.SIGINT)
        assert demo.wait_end(within=8) == 0
        before, _, rest = demo.text.partition("\x1b[?1049h")
        picture, _, after = rest.partition("\x1b[?1049l")
        assert "redis-cli -p" in before and "redis-cli -p" in picture and "Sound." in after
        assert "\n" not in picture, "lines are placed, nothing scrolls"
        assert ("\x1b[1;36m" in picture) == colours
        for row, line in re.findall(r"\x1b\[(\d+);1H(.*?)\x1b\[K", picture):
            width = len(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line))
            assert int(row) <= 24 and width <= 80, (row, line)
        note("demo: bytes for three seconds of picture", shown)


def test_wrong_numbers_are_refused():
    for arguments in (["--nodes", "1"], ["--nodes", "61"], ["--seconds", "0"], ["more"]):
        with Demo(*arguments) as demo:
            assert demo.wait_end() == 64, arguments
