"""The README's Python worker and client are what they say: short, and they work."""

import re
import subprocess
import sys

import pytest

from conftest import ROOT

ENDPOINT = "tcp://127.0.0.1:5555"
LINES_MAX = 25


def blocks():
    """The fenced blocks of the README: (language, text)."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def script(name):
    found = [at for at, (_, text) in enumerate(blocks()) if text.startswith(f"# {name}\n")]
    assert len(found) == 1, f"README.md has {len(found)} blocks that begin with `# {name}`"
    return found[0]


@pytest.mark.parametrize("name", ["worker.py", "client.py"])
def test_a_script_is_short(name):
    language, text = blocks()[script(name)]
    assert language == "python"
    assert len(text.splitlines()) <= LINES_MAX


def test_client_and_worker_print_what_the_readme_shows(start, tmp_path):
    broker = start()
    for name in ("worker.py", "client.py"):
        text = blocks()[script(name)][1]
        assert ENDPOINT in text
        (tmp_path / name).write_text(text.replace(ENDPOINT, broker.endpoint))
    language, shown = blocks()[script("client.py") + 1]
    assert language == "text", "the client's output has to follow the client"
    worker = subprocess.Popen([sys.executable, tmp_path / "worker.py"])
    try:
        command = [sys.executable, tmp_path / "client.py"]
        client = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (client.stdout, client.stderr, client.returncode) == (shown, "", 0)
        assert worker.poll() is None, "the worker serves on"
    finally:
        worker.kill()
        worker.wait()
