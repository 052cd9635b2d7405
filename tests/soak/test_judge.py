"""The judge finds what must not be."""

import pytest

from judge import judge

HONEST = {
    "client-1": ["sent c1:1 aa s", "sent c1:2 bb s", "reply c1:2 bb", "reply c1:1 aa", "done"],
    "client-2": ["sent c2:1 cc s", "sent c2:2 dd s", "reply c2:1 cc"],
    "worker-1": ["begin c1:1 aa s", "begin c1:2 bb s", "end c1:2 bb", "begin c2:2 dd s"],
    "worker-2": ["begin c1:1 aa s", "end c1:1 aa", "begin c2:1 cc s", "end c2:1 cc"],
}


def verdict_of(directory, logs):
    for name, lines in logs.items():
        (directory / f"{name}.log").write_text("".join(f"{line}\n" for line in lines))
    return judge(directory)


def test_an_honest_run_has_no_fault(tmp_path):
    verdict = verdict_of(tmp_path, HONEST)
    assert verdict.faults == []
    assert (verdict.requests, verdict.replies, verdict.unanswered) == (4, 3, 1)
    assert (verdict.executions, verdict.repeated) == (5, 1)


# What goes, what comes in its place, and what the judge says.
LIES = {
    "a lost reply": ("client-1", "reply c1:1 aa", None, "no answer to 1 requests"),
    "a reply twice": ("client-1", "done", "reply c1:1 aa", "answered twice"),
    "a reply that the client would not take": ("client-2", None, "foreign c1:1", "another client's"),
    "another client's reply": ("client-2", None, "reply c1:1 aa", "another client's"),
    "a changed reply": ("client-1", "reply c1:1 aa", "reply c1:1 ab", "came back changed"),
    "a reply of nobody": ("worker-2", "end c2:1 cc", None, "no worker gave"),
    "a changed request": ("worker-2", "begin c2:1 cc s", "begin c2:1 cd s", "was not sent as"),
    "a misled request": ("worker-2", "begin c2:1 cc s", "begin c2:1 cc t", "was not sent as"),
    "a request of nobody": ("worker-1", None, "begin c9:9 aa s", "was not sent as"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(tmp_path, lie):
    actor, old, new, complaint = LIES[lie]
    lines = [line for line in HONEST[actor] if line != old] + ([new] if new else [])
    faults = verdict_of(tmp_path, HONEST | {actor: lines}).faults
    assert any(complaint in fault for fault in faults), faults
