"""Deadlines for tests, nodes' logs with failures, measurements after them."""
import signal

import pytest

import mesh

DEADLINE = 90


def pytest_addoption(parser):
    parser.addoption("--turn", type=int, metavar="NUMBER",
                     help="only those of the tests that take turns whose turn it is")


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long the test may take (90)")
    config.addinivalue_line("markers", "mesh: needs nodes, one redis-server cannot stand for them")
    config.addinivalue_line(
        "markers", "turn(index, count): slow; with --turn NUMBER it runs if NUMBER modulo count is "
        "index. Without arguments the cases of the test take turns, one at a time")


def is_out_of_turn(item, items, turn):
    marker = item.get_closest_marker("turn")
    if marker is None:
        return False
    if marker.args:
        index, count = marker.args
    else:
        cases = [one for one in items if one.function is item.function]
        index, count = cases.index(item), len(cases)
    return turn % count != index


def pytest_collection_modifyitems(config, items):
    """Against one redis-server the tests that need several nodes are left out, and counted so. So are
    tests that take turns, in a run that is told whose turn it is."""
    turn = config.getoption("turn")
    out = [item for item in items
           if mesh.IS_REDIS and item.get_closest_marker("mesh")
           or turn is not None and is_out_of_turn(item, items, turn)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    marker = item.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE

    def expired(*_):
        pytest.fail("the test took more than %d s" % seconds)

    former = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.has_failed = True
        for text in [*mesh.reports, *(one.report() for one in mesh.Mesh.running)]:
            report.sections.append(("logs of the nodes", text))
    mesh.reports.clear()


def pytest_terminal_summary(terminalreporter):
    if mesh.notes:
        terminalreporter.section("measured")
        for what, value in mesh.notes:
            terminalreporter.write_line("%-66s %s" % (what, value))


@pytest.fixture(scope="module")
def five():
    """Five nodes for the tests of a file, none of which ends a node."""
    with mesh.Mesh(5) as nodes:
        yield nodes
