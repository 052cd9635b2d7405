"""An end of a flow on a socket of libzmq, written from ZIO's own rules (SPEC 13.3): a taker pays all
that it holds before it waits, a giver that is broke waits for PAY, EOT is answered by EOT.

Run by a Python whose libzmq has drafts if it is a CLIENT; DEALER works with any. It takes lines of
JSON and says what happened in lines of JSON:

    zio_real.py ENDPOINT CLIENT|DEALER
    {"do": "flow", "direction": "extract", "credit": 5, "count": 100, "size": 1000, "attributes": {}}
    {"do": "flow", "bot": "3b5a…"}                  as a handler, with the BOT that was assigned
"""

import hashlib
import json
import sys

import zmq

from zio import Message, decode, encode

WAIT_MS = 30_000


class Over(Exception):
    """The other end has said EOT."""


class Flow:
    def __init__(self, socket, direction, credit):
        self.socket, self.direction, self.credit = socket, direction, credit
        self.single = socket.socket_type != zmq.DEALER
        self.held, self.seqno = 0, 0

    def send(self, flow, payload=(), **attributes):
        message = Message({"flow": flow, **attributes}, payload, self.seqno)
        self.seqno += 1
        if self.single:
            self.socket.send(encode(message.parts()))
        else:
            self.socket.send_multipart([b"", *message.parts()])

    def receive(self, wait=WAIT_MS):
        if not self.socket.poll(wait):
            return None
        if self.single:
            return Message.of(decode(self.socket.recv()))
        empty, *parts = self.socket.recv_multipart()
        assert empty == b"", empty
        return Message.of(parts)

    def hear(self):
        message = self.receive()
        assert message is not None, f"nothing within {WAIT_MS} ms"
        return message

    def bot(self, attributes, payload=()):
        """The answer; EOT is a refusal."""
        self.send("BOT", payload, direction=self.direction, credit=self.credit, **attributes)
        answer = self.hear()
        if answer.kind == "EOT":
            return answer
        assert answer.kind == "BOT" and answer.label["direction"] != self.direction, answer
        self.credit = answer.label["credit"]
        if self.direction == "inject":
            self.held = self.credit
            self.pay()
        return answer

    def pay(self):
        if self.held:
            self.send("PAY", credit=self.held)
            self.held = 0

    def put(self, payload):
        while message := self.receive(0 if self.held else WAIT_MS):
            if message.kind == "EOT":
                raise Over
            assert message.kind == "PAY", message
            self.held += message.label["credit"]
            assert 0 < self.held <= self.credit, (message, self.held, self.credit)
        assert self.held, "no credit came"
        self.send("DAT", payload)
        self.held -= 1

    def get(self):
        self.pay()
        message = self.hear()
        if message.kind == "EOT":
            raise Over
        assert message.kind == "DAT", message
        self.held += 1
        assert self.held <= self.credit, "more than was paid for"
        return message

    def end(self, **attributes):
        """Says EOT and waits for the other's."""
        self.send("EOT", **attributes)
        while self.hear().kind != "EOT":
            pass


def content(number, size):
    """The same octets for the same number, and others for others."""
    seed = hashlib.sha256(str(number).encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def run(socket, order):
    if "bot" in order:
        bot = Message.of(decode(bytes.fromhex(order["bot"])))
        attributes = {key: it for key, it in bot.label.items() if key not in ("flow", "direction", "credit")}
        direction, credit = bot.label["direction"], min(order.get("credit", 1000), bot.label["credit"])
    else:
        attributes, direction, credit = order.get("attributes", {}), order["direction"], order["credit"]
    flow = Flow(socket, direction, credit)
    answer = flow.bot(attributes)
    if answer.kind == "EOT":
        return say(event="refused", label=answer.label)
    say(event="began", credit=flow.credit, label=answer.label)
    count, digest, octets, seqnos = 0, hashlib.sha256(), 0, []
    limit = order.get("count")
    try:
        while limit is None or count < limit:
            if direction == "extract":
                body = content(count, order["size"])
                flow.put([body])
            else:
                message = flow.get()
                body = b"".join(message.payload)
                seqnos.append(message.seqno)
            digest.update(body)
            octets += len(body)
            count += 1
        over = False
        flow.end(**order.get("eot", {}))
    except Over:
        over = True
        flow.send("EOT")
    say(event="ended", over=over, messages=count, octets=octets, digest=digest.hexdigest(),
        in_order=seqnos == list(range(1, len(seqnos) + 1)))


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    endpoint, kind = sys.argv[1:]
    context = zmq.Context()
    socket = context.socket(getattr(zmq, kind))
    socket.linger = 5000
    socket.connect(endpoint)
    say(event="ready", zmq=zmq.zmq_version(), draft=zmq.has("draft"))
    for line in sys.stdin:
        run(socket, json.loads(line))
    socket.close()
    context.term()


if __name__ == "__main__":
    main()
