"""The README's Python workers and clients are what they say: short, and they work."""

import re
import subprocess
import sys

import pytest

from conftest import ROOT

ENDPOINT = "tcp://127.0.0.1:5555"
LINES_MAX = 25
MJP_LINES_MAX = 40
PAIRS = [("worker.py", "client.py"), ("mjp_worker.py", "mjp_client.py")]


def blocks():
    """The fenced blocks of the README: (language, text)."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def script(name):
    found = [at for at, (_, text) in enumerate(blocks()) if text.startswith(f"# {name}\n")]
    assert len(found) == 1, f"README.md has {len(found)} blocks that begin with `# {name}`"
    return found[0]


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_a_script_is_short(name):
    language, text = blocks()[script(name)]
    assert language == "python"
    lines = len(text.splitlines())
    assert lines <= (MJP_LINES_MAX if name.startswith("mjp") else LINES_MAX)
    allowed = {"import zmq", "import msgpack, zmq", "import itertools, msgpack, zmq"}
    assert {line for line in text.splitlines() if "import " in line} <= allowed


@pytest.mark.parametrize("worker,client", PAIRS)
def test_client_and_worker_print_what_the_readme_shows(start, tmp_path, worker, client):
    broker = start()
    for name in (worker, client):
        text = blocks()[script(name)][1]
        assert ENDPOINT in text
        (tmp_path / name).write_text(text.replace(ENDPOINT, broker.endpoint))
    language, shown = blocks()[script(client) + 1]
    assert language == "text", "the client's output has to follow the client"
    serving = subprocess.Popen([sys.executable, tmp_path / worker])
    try:
        command = [sys.executable, tmp_path / client]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (ran.stdout, ran.stderr, ran.returncode) == (shown, "", 0)
        assert serving.poll() is None, "the worker serves on"
    finally:
        serving.kill()
        serving.wait()
