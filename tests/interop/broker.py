"""The built binary as a broker."""

import os
import pathlib
import signal
import subprocess

import canary

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BINARY = pathlib.Path(os.environ.get("MAJORDOMO_BIN", ROOT / "target/debug/majordomo"))


class Broker:
    def __init__(self, directory, *flags, binds=("tcp://127.0.0.1:0",)):
        assert BINARY.exists(), f"no {BINARY}: run `cargo build` or set MAJORDOMO_BIN"
        self.log_path = directory / f"broker-{len(list(directory.iterdir()))}.log"
        canary.watch(self.log_path)
        command = [BINARY, "broker", "--config", "/dev/null", *flags]
        for bind in binds:
            command += ["--bind", bind]
        self.stopped = False
        # Records and panics both go to standard error.
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.endpoints = [self.process.stdout.readline().strip() for _ in binds]
        assert all(self.endpoints), f"no endpoint; the log says: {self.log()}"
        self.endpoint = self.endpoints[0]

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def resident(self):
        """Resident memory, octets."""
        return self.memory("VmRSS")

    def peak(self):
        """The most that it has ever been."""
        return self.memory("VmHWM")

    def memory(self, name):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith(name)]
        return int(line.split()[1]) * 1024

    def terminate(self):
        self.stopped = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """Ends it as a service manager does, and waits."""
        self.terminate()
        self.process.wait(120)

    def kill(self):
        self.stopped = True
        self.process.kill()
        self.process.wait(120)

    def close(self):
        self.process.kill()
        self.process.communicate()

    def check(self):
        if not self.stopped:
            assert self.process.poll() is None, f"the broker died: {self.process.returncode}"
        assert "panicked" not in self.log(), self.log()
