"""Commands that are sent while something is killed, and what has become of them."""

import threading


class Load:
    """Commands that are sent one after the other; those that RabbitMQ has confirmed are kept."""

    def __init__(self, mesh, path):
        self.mesh, self.path, self.confirmed, self.refused = mesh, path, [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._stop.is_set():
            number += 1
            done = self.mesh.cli("call", self.mesh.service, "keep", f'{{"n": {number}}}', "--command",
                                 "--timeout", "3s")
            if done.returncode == 0:
                self.confirmed.append(number)
            else:
                self.refused += 1

    def end(self):
        self._stop.set()
        self._thread.join(60)

    def kept(self):
        """The numbers of those that were carried out, each as often as it was."""
        if not self.path.exists():
            return []
        return [int(line.strip(' {}"n:\n')) for line in self.path.read_text().splitlines()]


def keep(path):
    """Flags of an instance that carries them out."""
    return "--method", f"keep=cat >> {path}"
