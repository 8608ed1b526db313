#!/usr/bin/env python3
"""Counts the instructions that a message costs, by callgrind: the same figure each time, on a busy machine too.

    instructions.py [--update] [--bench BINARY]
    instructions.py --processes [--smallworld BINARY] [--rounds 512]

`smallworld-bench --path` takes messages of 128 bytes from client to client over three nodes in one process, in
batches of 16. Each node's account has the messages on their way there and the acknowledgements on their way back.
It is taken at two numbers of messages: their difference is free of what a start costs. The figures are compared
with those in .ci/instructions.json for this toolchain, machine and C library. One that is more than 2 % above
them, and above what later work may cost (ALLOWED), fails; --update writes them anew. Where none are committed for these, they are printed and nothing is compared.

--processes counts two real nodes instead, sockets and all, at 16 publishers x 16 subscribers. It is compared with
nothing: the batches that sockets give differ a little from run to run.

Needs valgrind.
"""
import argparse, concurrent.futures, json, os, platform, re, shutil, socket, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
COMMITTED = os.path.join(HERE, "..", "..", ".ci", "instructions.json")
RUN = tempfile.mkdtemp(prefix="smallworld-instructions-", dir="/tmp")
TOLERANCE = 0.02
#: Instructions that a message may cost a node more than what is committed: 20 for subscriptions that are confirmed when
#: all know of them, 30 for bounds on what clients take together, 15 for rooms and requests beside users and channels.
ALLOWED = 20 + 30 + 15
NODES = ["publishing", "transit", "subscribing"]
#: Fan-out: so many messages first, by which memory has grown to its size, and so many in the account.
COUNTS = {1: (3_200, 6_400), 100: (320, 640), 1_000: (160, 160)}
BATCH = 16
#: What is told apart by its callers, by what it is called in the table.
CALLEES = {
    "retain": ["swift_retain"], "release": ["swift_release"],
    "malloc": ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"],
    "memcpy": ["memcpy", "memmove", "__memcpy*", "__memmove*"],
}
#: The wake-up of a node, a function of MessagePath.swift; not its closures, which may be one for several nodes.
WAKEUP = lambda node: re.compile(r"\$s12BenchCommand\d+%sNode\w*F" % node)
#: Compares what has reached the clients with what should have: in no node's account.
CHECK = "*11reachClient*"
#: Nothing of the caller's environment: it lies on the stack, and moves what comes after.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "SWIFT_DETERMINISTIC_HASHING": "1"}


def valgrind(path, *more):
    """The start of a command line that counts; `path` is where the account goes."""
    callees = sum(CALLEES.values(), []) + [CHECK]
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + path, "--dump-line=no", "--compress-strings=no",
            "--compress-pos=no", *["--separate-callers24=" + name for name in callees], *more]


class Account:
    """What callgrind has counted: all instructions, and for each callee its calls and the instructions within."""

    def __init__(self, path):
        self.instructions = 0
        self.callees = {}
        callee, calls = None, 0
        for line in open(path, errors="replace"):
            if line.startswith("totals:"):
                self.instructions = int(line.split()[1])
            elif line.startswith("cfn="):
                callee = line[4:].strip()
            elif line.startswith("calls="):
                calls = int(line[6:].split()[0])
            elif callee is not None:
                # The line after "calls=": where, and the instructions within.
                before = self.callees.get(callee, (0, 0))
                self.callees[callee] = (before[0] + calls, before[1] + int(line.split()[1]))
                callee = None

    def within(self, names, node=None):
        """(calls, instructions) of functions of these names, called on behalf of this node or of anybody."""
        pattern = re.compile("|".join(name.replace("*", "[^']*") for name in names))
        wakeup = WAKEUP(node)
        calls = instructions = 0
        for callee, (count, cost) in self.callees.items():
            # A callee that is told apart by its callers: name'caller'caller's caller'…
            name, *callers = callee.split("'")
            isInner = any(pattern.fullmatch(caller) for caller in callers)
            if pattern.fullmatch(name) and not isInner and (not node or any(map(wakeup.fullmatch, callers))):
                calls += count
                instructions += cost
        return calls, instructions

    def node(self, node):
        """Instructions of a node's wake-ups, without the check of what has reached clients."""
        found = [pair for name, pair in self.callees.items() if WAKEUP(node).fullmatch(name)]
        instructions = sum(pair[1] for pair in found)
        if not found:
            sys.exit("there is no function %sNode to be counted in %s" % (node, options.bench))
        return instructions - self.within([CHECK], node)[1]


# ---- three nodes in one process ----

def counted(fan_out, messages):
    path = os.path.join(RUN, "path-%d-%d" % (fan_out, messages))
    argv = valgrind(path) + [os.path.join(RUN, "bench"), "--path", "--messages", str(messages), "--fan-out", str(fan_out)]
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 or "%d delivered" % (messages * fan_out) not in done.stdout:
        sys.exit("%s: status %d\n%s%s" % (" ".join(argv), done.returncode, done.stdout, done.stderr[-2000:]))
    return Account(path)


def path_figures():
    """{fan-out: {node: {"instructions": per delivered message, callee: (calls, instructions)}}}"""
    # A program's path lies on the stack too, and with it the alignment of what is copied there: where the program
    # lay made 0.6 % of the publishing node's figure. So it is always counted under a path of the same length.
    shutil.copy(options.bench, os.path.join(RUN, "bench"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        accounts = {fan_out: (pool.submit(counted, fan_out, first), pool.submit(counted, fan_out, first + more))
                    for fan_out, (first, more) in COUNTS.items()}
    figures = {}
    for fan_out, (before, after) in accounts.items():
        before, after, delivered = before.result(), after.result(), COUNTS[fan_out][1] * fan_out
        figures[fan_out] = {}
        for node in NODES:
            row = {"instructions": (after.node(node) - before.node(node)) / delivered}
            for name, callees in CALLEES.items():
                pairs = zip(before.within(callees, node), after.within(callees, node))
                row[name] = tuple((b - a) / delivered for a, b in pairs)
            figures[fan_out][node] = row
    return figures


def toolchain():
    """What the figures depend on besides our own code."""
    said = subprocess.run(["swift", "--version"], capture_output=True, text=True, timeout=60).stdout
    version = re.search(r"Swift version .*", said).group().strip()
    target = re.search(r"Target: (\S+)", said).group(1)
    return "%s, %s, %s" % (version, target, " ".join(platform.libc_ver()))


def compare_path():
    here = toolchain()
    committed = json.load(open(COMMITTED)) if os.path.exists(COMMITTED) else {}
    figures, known, worse = path_figures(), committed.get(here), 0
    print("Per delivered message, %s" % here)
    print("%-24s %12s %10s   %s" % ("", "instructions", "committed", "calls (instructions in them)"))
    for fan_out, rows in figures.items():
        for node, row in rows.items():
            name = "fan-out %d" % fan_out if fan_out > 1 else "16 x 16"
            line = "%-10s %-13s %12.2f" % (name, node, row["instructions"])
            before = known[str(fan_out)][node] if known else None
            change = row["instructions"] / before - 1 if before else 0
            line += " %10s  " % ("%+.2f %%" % (100 * change) if before else "")
            line += "".join(" %s %.2f (%.1f)" % (callee, *row[callee]) for callee in CALLEES)
            most = (before + ALLOWED / fan_out) * (1 + TOLERANCE) if before else float("inf")
            worse += row["instructions"] > most
            print(line + ("  ABOVE" if row["instructions"] > most else ""))
    if options.update:
        committed[here] = {str(fan_out): {node: round(row["instructions"], 4) for node, row in rows.items()}
                           for fan_out, rows in figures.items()}
        json.dump(committed, open(COMMITTED, "w"), indent=2, sort_keys=True)
        open(COMMITTED, "a").write("\n")
        return 0
    if not known:
        print("SKIPPED: nothing to compare with is committed for this toolchain, machine and C library")
    if worse:
        print("%d figures are more than %d %% above what is committed and allowed" % (worse, 100 * TOLERANCE))
    return 1 if worse else 0


# ---- two real nodes ----

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def encoded(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.settimeout(30)

    def take(self, expected):
        """Reads these bytes, or ends the program."""
        got = b""
        while len(got) < len(expected):
            got += self.socket.recv(len(expected) - len(got)) or sys.exit("a node has closed a connection")
        if got != expected:
            sys.exit("expected %r, got %r" % (expected[:200], got[:200]))


class CountedNode:
    def __init__(self, name, mesh, *more):
        self.redis = free_port()
        self.path = os.path.join(RUN, name)
        argv = valgrind(self.path) + [options.smallworld, "node", "--mesh", "127.0.0.1:%d" % mesh, "--redis",
                                      "127.0.0.1:%d" % self.redis, "--http", "off", *more]
        log = open(self.path + ".log", "w")
        self.process = subprocess.Popen(argv, env=ENVIRONMENT, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                return Client(self.redis).socket.close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("a node does not start:\n" + open(self.path + ".log").read()[-2000:])
                time.sleep(0.1)

    def control(self, option):
        subprocess.run(["callgrind_control", option, str(self.process.pid)], check=True, capture_output=True, timeout=60)


def count_processes():
    mesh = free_port()
    nodes = [CountedNode("publishing", mesh)]
    try:
        nodes.append(CountedNode("subscribing", free_port(), "--seed", "127.0.0.1:%d" % mesh))
        measure_processes(nodes)
    finally:
        for node in nodes:
            node.process.terminate()
        for node in nodes:
            node.process.wait(30)


def measure_processes(nodes):
    names = [b"user:%07d" % number for number in range(16)]
    subscribers = [Client(nodes[1].redis) for _ in names]
    publishers = [Client(nodes[0].redis) for _ in names]
    commands = [encoded(b"PUBLISH", name, b"p" * 128) for name in names]
    messages = [encoded(b"message", name, b"p" * 128) for name in names]
    for client, name in zip(subscribers, names):
        client.socket.sendall(encoded(b"SUBSCRIBE", name))
        client.take(b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(name), name))
    # Until the publishing node knows of every subscriber.
    for publisher, subscriber, command, message in zip(publishers, subscribers, commands, messages):
        while True:
            publisher.socket.sendall(command)
            reply = publisher.socket.recv(100)
            if reply == b":1\r\n":
                subscriber.take(message)
                break
            time.sleep(0.1)

    def rounds(count):
        for _ in range(count):
            for publisher, command in zip(publishers, commands):
                publisher.socket.sendall(command * BATCH)
            for publisher, subscriber, message in zip(publishers, subscribers, messages):
                publisher.take(b":1\r\n" * BATCH)
                subscriber.take(message * BATCH)

    rounds(options.rounds // 8 + 1)
    for node in nodes:
        node.control("--zero")
    rounds(options.rounds)
    for node in nodes:
        node.control("--dump")
    delivered = options.rounds * BATCH * len(names)
    print("Per message, 16 publishers x 16 subscribers, two processes")
    for node in nodes:
        account = Account(node.path + ".1")
        line = "%-13s %9.1f  " % (os.path.basename(node.path), account.instructions / delivered)
        for name, callees in CALLEES.items():
            line += " %s %.2f (%.1f)" % (name, *(figure / delivered for figure in account.within(callees)))
        print(line)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bench", default=".build/release/smallworld-bench", type=os.path.abspath)
parser.add_argument("--smallworld", default=".build/release/smallworld", type=os.path.abspath)
parser.add_argument("--update", action="store_true")
parser.add_argument("--processes", action="store_true")
parser.add_argument("--rounds", default=512, type=int)
options = parser.parse_args()
try:
    sys.exit(count_processes() if options.processes else compare_path())
finally:
    shutil.rmtree(RUN, ignore_errors=True)
