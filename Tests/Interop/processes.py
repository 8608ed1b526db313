"""Servers as child processes: ports for them, libraries in front of their system, and no process
that outlives its test."""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
handed_out = set()


def free_port():
    """A port that nobody listens on, outside the range from which clients' ports are taken."""
    while True:
        port = random.randrange(12_000, 32_000)
        if port in handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        handed_out.add(port)
        return port


def die_with_parent():
    """For a child before it becomes a server (`preexec_fn`)."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def compiled(source, folder):
    """A library for LD_PRELOAD, compiled into the folder from one C file; its path."""
    path = os.path.join(folder, os.path.basename(source)[:-2] + ".so")
    compiler = next(c for c in ("cc", "gcc", "clang") if shutil.which(c))
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", path, source], check=True)
    return path
