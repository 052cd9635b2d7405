"""libzmq's own proxy: a ROUTER for clients, a DEALER for workers, both addresses printed.

With the file of a secret key both speak CURVE, and any key may come in.
"""

import sys

import zmq
import zmq.auth

context = zmq.Context()
front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
for socket in (front, back):
    socket.set_hwm(0)
    if len(sys.argv) > 1:
        socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(sys.argv[1])
        socket.curve_server = True
    socket.bind("tcp://127.0.0.1:*")
print(*(s.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://") for s in (front, back)), flush=True)
zmq.proxy(front, back)
