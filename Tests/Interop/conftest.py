"""Deadlines for tests, nodes' logs with failures, measurements after them."""
import signal

import pytest

import mesh

DEADLINE = 90


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long the test may take (90)")
    config.addinivalue_line("markers", "mesh: needs nodes, one redis-server cannot stand for them")


def pytest_collection_modifyitems(config, items):
    """Against one redis-server the tests that need several nodes are left out, and counted so."""
    if not mesh.IS_REDIS:
        return
    out = [item for item in items if item.get_closest_marker("mesh")]
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
