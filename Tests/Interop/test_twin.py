"""Sixty processes and their simulated twin agree.

The twin is simulations/sixty-twin.json5: as many nodes, of the same degree, the same faults, on a
network like the loopback interface. Both sides run the same protocol; what can differ is what the
simulator leaves out: the kernel, the scheduler, the driver.
"""
import datetime
import json
import os
import re
import statistics
import subprocess
import time

import pytest

import mesh as harness
from mesh import eventually, note, subscribed
from resp import encode
from test_sixty import COUNT, sixty  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(300), pytest.mark.turn(0, 2)]
SIMULATOR = os.environ.get("SMALLWORLD_SIM") or os.path.join(
    os.path.dirname(harness.BINARY), "smallworld-sim")
SCENARIO = os.path.join(harness.ROOT, "simulations", "sixty-twin.json5")
FREEZES, KILLS = 7, 7


def simulated(path):
    done = subprocess.run([SIMULATOR, "run", path, "--json", "--quiet"], capture_output=True,
                          text=True, timeout=120)
    assert done.stdout.startswith("{"), (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def twin():
    """What the simulator says of the scenario as it is: with machines that fall silent."""
    result = simulated(SCENARIO)
    assert result["violations"] == [] and all(e["met"] for e in result["expectations"]), result
    return result


@pytest.fixture(scope="module")
def killed_twin(tmp_path_factory):
    """The same with processes that end, whose machines reset their connections."""
    with open(SCENARIO) as file:
        text = file.read()
    assert text.count("vanish:") == 1
    # The expectations are those of silence.
    text = re.sub(r"expect: \{.*?\n  \},", "", text.replace("vanish:", "crash:"), flags=re.DOTALL)
    path = tmp_path_factory.mktemp("twin") / "sixty-killed.json5"
    path.write_text(text)
    result = simulated(str(path))
    assert result["violations"] == [], result
    return result


def test_mean_hops_differ_by_less_than_five_per_cent(sixty, twin):  # noqa: F811
    sixty.wait_links_settled(30)
    wires = [subscribed(node.wire(3), "SUBSCRIBE", "twin:%d" % node.index) for node in sixty]
    channels = ["twin:%d" % index for index in range(COUNT)]
    expected = [word for channel in channels for word in (channel.encode(), 1)]
    eventually(20, lambda: all(node.call("PUBSUB", "NUMSUB", *channels) == expected
                               for node in sixty))

    def totals():
        metrics = [node.metrics() for node in sixty]
        return [sum(one["smallworld_" + name] for one in metrics)
                for name in ("message_hops_total", "messages_delivered_total")]

    # Each pair once, so that the figure is the graph's and owes nothing to chance.
    hops, delivered = totals()
    for node in sixty:
        wire = node.wire(2)
        others = [channel for index, channel in enumerate(channels) if index != node.index]
        wire.send(b"".join(encode("PUBLISH", channel, "x") for channel in others))
        assert [wire.reply() for _ in others] == [1] * (COUNT - 1)
        wire.close()
    for wire in wires:
        for _ in range(COUNT - 1):
            wire.read(20)
        wire.close()
    hops, delivered = [after - before for after, before in zip(totals(), (hops, delivered))]
    assert delivered == COUNT * (COUNT - 1)
    real = hops / delivered
    difference = real / twin["hops"]["mean"] - 1
    note("60 nodes and twin: mean hops",
         "%.3f, %.3f: %+.1f %%" % (real, twin["hops"]["mean"], difference * 100))
    assert abs(difference) < 0.05


def death_times(mesh, id, since):
    """When each living node declared this one dead, by its log: seconds after `since` (time.time).

    The log's own times, because asking fifty nodes takes longer than the news does."""
    times = []
    for node in mesh.alive():
        found = re.findall(r"^(\S+)Z warning memberDead node=%s\b" % id, node.printed(),
                           re.MULTILINE)
        assert found, "%r has not declared %s dead" % (node, id)
        stamp = datetime.datetime.fromisoformat(found[-1]).replace(tzinfo=datetime.timezone.utc)
        times.append(stamp.timestamp() - since)
    return times


def detections(mesh, victims, end):
    """Ends the victims one after the other; all times from an end to a survivor's knowing it."""
    found = []
    for victim in victims:
        id = victim.id
        victim.hang_up()
        since = time.time()
        end(victim)
        eventually(30, lambda: bool(death_times(mesh, id, since)))
        found += death_times(mesh, id, since)
        victim.thaw()
        victim.kill()
        # The links that it leaves free are taken before the next one goes.
        time.sleep(1)
    return found


def test_detection_of_a_frozen_node_differs_by_less_than_twenty_per_cent(
        sixty, twin):  # noqa: F811
    """The median over seven nodes and all that outlive them: one freeze is early or late by up to
    a heartbeat, depending on when its last one left."""
    times = detections(sixty, sixty.nodes[10:10 + FREEZES], lambda node: node.freeze())
    assert len(times) == sum(COUNT - 1 - number for number in range(FREEZES))
    real, simulated = statistics.median(times), twin["detection"]["p50"]
    note("60 nodes and twin: a frozen node is dead after (median)",
         "%.2f s, %.2f s: %+.1f %%" % (real, simulated, (real / simulated - 1) * 100))
    assert abs(real / simulated - 1) < 0.2


def test_detection_of_a_killed_node_takes_no_timer_in_either(sixty, killed_twin):  # noqa: F811
    """Resets tell of it, and refused connections confirm it: the simulator needs a few latencies,
    0.2 ms, sixty processes on two cores need what their scheduler lets them, some 20 ms. A fifth of
    that would compare schedulers. What can be compared is whether both go the short way: the
    shortest of the protocol's timers on the long ones is an accuser's patience of 150 ms
    (`FailureDetection.accuse`). So both medians lie below 150 ms, or one of them has waited for a
    timer and the other has not."""
    mesh = sixty
    times = detections(mesh, mesh.nodes[30:30 + KILLS], lambda node: node.kill())
    real, simulated = statistics.median(times), killed_twin["detection"]["p50"]
    note("60 nodes and twin: a killed node is dead after (median)",
         "%.1f ms, %.1f ms" % (real * 1000, simulated * 1000))
    assert simulated < 0.15
    assert real < 0.15
