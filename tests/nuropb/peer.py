"""The real NuroPb, as a process: a service with a container, or a client alone.

    peer.py AMQP_URL API_URL ETCD_OR_NOTHING SERVICE_OR_NOTHING INSTANCE

Reads orders as JSON from standard input, and says on lines of standard output what came of them,
and what the service hears."""

import asyncio
import json
import sys
import threading
import urllib.parse

from cryptography.hazmat.primitives.asymmetric import rsa
from nuropb.contexts.context_manager_decorator import nuropb_context
from nuropb.contexts.describe import publish_to_mesh
from nuropb.interface import NuropbCallAgain, NuropbSuccess
from nuropb.rmq_api import RMQAPI
from nuropb.service_runner import ServiceContainer

_out = threading.Lock()


def say(**what):
    with _out:
        print(json.dumps(what), flush=True)


class Service:
    """A service of Python."""

    _version = "7"

    def __init__(self, name, instance):
        self._service_name, self._instance_id = name, instance
        self._seen = set()
        self._private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def _handle_event_(self, topic, event, target, context):
        say(event="event", topic=topic, payload=event, context=context)

    @publish_to_mesh(description="adds")
    def add(self, a: int, b: int = 2) -> int:
        return a + b

    def echo(self, **kwargs):
        return kwargs

    @publish_to_mesh(requires_encryption=True)
    def secret(self, **kwargs):
        say(event="secret", kwargs=kwargs)
        return kwargs

    def who(self):
        return self._instance_id

    def fail(self):
        raise ValueError("it is broken")

    def tell(self, topic):
        raise NuropbSuccess(result="told", events=[{"topic": topic, "payload": {"n": 1}, "target": None}])

    def again(self, mark):
        say(event="again", mark=mark)
        if mark not in self._seen:
            self._seen.add(mark)
            raise NuropbCallAgain("not yet")
        return "now"

    def never(self):
        raise NuropbCallAgain("never")

    async def slow(self):
        await asyncio.sleep(1)
        return self._instance_id

    def note(self, **kwargs):
        say(event="note", kwargs=kwargs)

    @nuropb_context
    def context(self, ctx):
        return ctx.context


async def order(api, words):
    verb, number, encrypted = words["verb"], words["number"], words.get("encrypted", False)
    if encrypted:
        # So it learns the key.
        await api.describe_service(words["service"])
    if verb == "request":
        response = await api.request(words["service"], words["method"], words["params"],
                                     words.get("context", {}), trace_id=words.get("trace_id"),
                                     rpc_response=False, encrypted=encrypted)
        say(number=number, response=response)
    elif verb == "command":
        api.command(words["service"], words["method"], words["params"], words.get("context", {}),
                    encrypted=encrypted)
        say(number=number)
    elif verb == "publish":
        api.publish_event(words["topic"], words["event"], words.get("context", {}), words.get("trace_id"))
        say(number=number)
    elif verb == "describe":
        say(number=number, description=await api.describe_service(words["service"]))


async def main():
    amqp, api_url, etcd, service, instance = sys.argv[1:6]
    settings = {"rpc_bindings": [service], "event_bindings": ["python.#"]}
    container = None
    if service:
        api = RMQAPI(amqp_url=amqp, service_name=service, instance_id=instance,
                     service_instance=Service(service, instance), transport_settings=settings)
        where = urllib.parse.urlsplit(etcd)
        config = {"host": where.hostname, "port": where.port} if etcd else None
        container = ServiceContainer(rmq_api_url=api_url, instance=api, etcd_config=config)
        ok = await container.start()
        say(event="started", ok=ok, state=container.running_state, leader=container._leader_reference)
    else:
        api = RMQAPI(amqp_url=amqp, instance_id=instance)
        await api.connect()
        say(event="started", ok=True)
    loop, orders = asyncio.get_running_loop(), asyncio.Queue()

    def read():
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
        loop.call_soon_threadsafe(orders.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    running = set()
    while (words := await orders.get()) is not None:
        if words["verb"] == "stop":
            await (container.stop() if container else api.disconnect())
            say(number=words["number"])
            return
        if words["verb"] == "state":
            say(number=words["number"], state=container.running_state,
                leads=container._is_leader, leader=container._leader_reference)
            continue
        task = asyncio.create_task(order(api, words))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
