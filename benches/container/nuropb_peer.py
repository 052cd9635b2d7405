"""NuroPb itself as a service, or as its callers: what `main.rs` does, with its package.

    nuropb_peer.py service AMQP_URL API_URL PREFETCH
    nuropb_peer.py callers AMQP_URL WINDOW SECONDS
"""

import asyncio
import json
import logging
import sys
import time

from nuropb.rmq_api import RMQAPI
from nuropb.service_runner import ServiceContainer

SERVICE, WARM_UP = "bench", 100


class Service:
    _version = "1"

    def echo(self, **kwargs):
        return kwargs


async def input_ends():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def serve(url, api_url, prefetch):
    settings = {"rpc_bindings": [SERVICE], "event_bindings": [], "prefetch_count": int(prefetch)}
    api = RMQAPI(amqp_url=url, service_name=SERVICE, instance_id="python", service_instance=Service(),
                 transport_settings=settings)
    container = ServiceContainer(rmq_api_url=api_url, instance=api)
    assert await container.start()
    print("serves", flush=True)
    await input_ends()
    await container.stop()


async def one(api, number, ends):
    """One call after the other, and how long each took."""
    took, count = [], 0
    while True:
        began = time.perf_counter()
        if began >= ends if ends else count >= WARM_UP:
            return took
        asked = {"caller": number, "count": count}
        answer = await api.request(SERVICE, "echo", asked, {})
        assert answer == asked, (asked, answer)
        took.append(time.perf_counter() - began)
        count += 1


async def call(url, window, seconds):
    api = RMQAPI(amqp_url=url, instance_id="python-bench")
    await api.connect()
    await asyncio.gather(*(one(api, number, None) for number in range(int(window))))
    print("begins", flush=True)
    began = time.perf_counter()
    took = await asyncio.gather(*(one(api, number, began + float(seconds)) for number in range(int(window))))
    seconds = time.perf_counter() - began
    took = sorted(time for some in took for time in some)
    at = lambda part: took[min(len(took) * part // 1000, len(took) - 1)] * 1e3  # noqa: E731
    print(json.dumps({"calls": len(took), "seconds": seconds, "p50": at(500), "p99": at(990)}), flush=True)
    await input_ends()
    await api.disconnect()


logging.disable(logging.WARNING)
role, *words = sys.argv[1:]
asyncio.run({"service": serve, "callers": call}[role](*words))
