"""Reads the logs of all actors and finds what must not be. See actor.py for the lines."""

import collections
import dataclasses


@dataclasses.dataclass
class Verdict:
    requests: int = 0
    replies: int = 0
    # Of clients that were killed: nobody can say whether their answer was on its way.
    unanswered: int = 0
    executions: int = 0
    # Executed more often than once, because a worker was lost.
    repeated: int = 0
    faults: list = dataclasses.field(default_factory=list)

    def blame(self, text):
        self.faults.append(text)


def lines(path):
    for line in path.read_text().splitlines():
        yield line.split(" ")


def judge(directory):
    """What the logs in `directory` (client-*.log, worker-*.log) say."""
    verdict = Verdict()
    sent, replied = {}, {}
    for path in sorted(directory.glob("client-*.log")):
        judge_client(path, sent, replied, verdict)
    begun, ended = collections.Counter(), set()
    for path in sorted(directory.glob("worker-*.log")):
        for event, number, *rest in lines(path):
            if event == "begin":
                begun[number] += 1
                if sent.get(number) != tuple(rest):
                    verdict.blame(f"{path.name}: {number} was not sent as {rest}")
            elif event == "end":
                ended.add((number, rest[0]))
    for number, answer in replied.items():
        if (number, answer) not in ended:
            verdict.blame(f"{number} has an answer that no worker gave")
    verdict.requests, verdict.replies = len(sent), len(replied)
    verdict.executions = sum(begun.values())
    verdict.repeated = sum(count > 1 for count in begun.values())
    return verdict


def judge_client(path, sent, replied, verdict):
    own, done = set(), False
    for event, *rest in lines(path):
        match event, rest:
            case "sent", [number, content, service]:
                own.add(number)
                sent[number] = (content, service)
            case "reply", [number, content]:
                if number in replied:
                    verdict.blame(f"{path.name}: {number} was answered twice")
                if number not in own:
                    verdict.blame(f"{path.name}: {number} is another client's")
                elif sent[number][0] != content:
                    verdict.blame(f"{path.name}: {number} came back changed")
                replied[number] = content
            case "foreign", [number]:
                verdict.blame(f"{path.name}: {number} is another client's, or came again")
            case "done", []:
                done = True
    missing = own - replied.keys()
    if done and missing:
        verdict.blame(f"{path.name}: no answer to {len(missing)} requests of a client that lived")
    verdict.unanswered += len(missing)
