"""A member of a group: says what happens, votes yes, acts when it is decided, and leads if it can.

python group_member.py tcp://127.0.0.1:5555 Escort.1 anna
"""

import sys
import time

import msgpack
import zmq

endpoint, group, name = sys.argv[1:4]
(socket := zmq.Context().socket(zmq.DEALER)).connect(endpoint)
number, epoch, until, sent, beat, acts = 1, 0, 0.0, {}, 0.0, []
clock = (0.0, 0.0, 1e9)  # half way, the broker's clock then, error: seconds


def say(id, body=(), **says):
    frames = [b"MJP1", b"\x1b" + id.to_bytes(8, "big"), msgpack.packb(says), *body]
    socket.send_multipart(frames)


say(1, verb="join", group=group, member=name, type={"leader": True, "min_size": 2})
while True:
    now = time.monotonic()
    if now >= beat:
        number, beat = number + 1, now + 0.3
        sent[number] = (now, epoch)
        say(number, verb="beat", seat=1, **({"epoch": epoch} if epoch else {}))
    for poll, when in [act for act in acts if act[1] <= now]:
        acts.remove((poll, when))
        print("acts", poll, flush=True)
        say(0, verb="outcome", seat=1, poll=poll, outcome="done")
    if not socket.poll(max(0, min([beat, *(when for _, when in acts)]) - now) * 1000):
        continue
    _, second, header, *body = socket.recv_multipart()
    says, now = msgpack.unpackb(header or b"\x80"), time.monotonic()
    event, id = says.get("event"), int.from_bytes(second[1:], "big")
    if second[0] != 0x1B or event is None:  # HEARTBEAT, ERROR
        epoch = 0 if says.get("code") == "stale_epoch" else epoch
    elif event == "beat":
        asked, led = sent.pop(id)
        sample = ((asked + now) / 2, says["clock"] / 1e6, (now - asked) / 2)
        clock = min(clock, sample, key=lambda known: known[2])
        until = asked + 0.95 * says["ttl"] / 1000 if led and led == epoch else until
    elif event in ("elected", "exited"):
        mine = event == "elected" and says["member"] == name
        epoch, until, beat = (says["epoch"] if mine else 0), 0.0, (now if mine else beat)
    elif event == "poll" and says["elector"]:
        error = int(clock[2] * 1e6) + 1
        say(0, verb="vote", seat=1, poll=says["poll"], vote="yes", error=error)
    elif event == "result" and says["status"] == "yes" and "when" in says:
        acts.append((says["poll"], clock[0] + says["when"] / 1e6 - clock[1] + clock[2]))
    elif event == "message" and says["to"] == "leader" and now < until:
        to = {"to": "member", "member": says["member"], "epoch": epoch}
        say(0, [b"done " + body[0]], verb="send", seat=1, **to)
    keys = says.keys() & {"change", "member", "epoch", "status", "code"}
    shown = {key: says[key] for key in sorted(keys)}
    if event != "beat":
        print(event or "error", shown, b" ".join(body) if event == "message" else "", flush=True)
