"""libzmq's own proxy: a ROUTER for clients, a DEALER for workers, both addresses printed."""

import zmq

context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
for socket in (front, back):
    socket.set_hwm(0)
    socket.bind("tcp://127.0.0.1:*")
print(*(s.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://") for s in (front, back)), flush=True)
zmq.proxy(front, back)
