"""A worker process: worker.py ENDPOINT SERVICE MODE, where MODE is `echo` or `stuck`.

It prints `ready` once it has said READY, and `got` when it gets a request. A stuck one then does
nothing more; its libzmq goes on answering PING, as that of any stock worker in long work does.
"""

import signal
import sys

import zmq


def main(endpoint, service, mode):
    socket = zmq.Context().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    socket.send_multipart([b"", b"MDPW01", b"\1", service])
    print("ready", flush=True)
    while True:
        if not socket.poll(100):
            socket.send_multipart([b"", b"MDPW01", b"\4"])
            continue
        frames = socket.recv_multipart()
        if frames[2] == b"\5":
            return
        if frames[2] != b"\2":
            continue
        if mode == "stuck":
            print("got", flush=True)
            signal.pause()
        socket.send_multipart([b"", b"MDPW01", b"\3", frames[3], b"", *frames[5:]])


main(sys.argv[1], sys.argv[2].encode(), sys.argv[3])
