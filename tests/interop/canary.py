"""Secrets with a known text, and a look for them in all that the programs under test have written.

Every secret key of the tests and every password begins with the same octets, so that one look at
a text finds any of them, in whatever form. A key that a program has made is planted by name.
"""

import base64
import hashlib
import re

import zmq
from zmq.utils import z85

# The first octet keeps its value when a key of X25519 is clamped.
MARK = b"hush-me!"
# Octets of a secret that have to stand together to count as a leak.
PART = len(MARK)

_patterns = {}
_files = set()
_texts = []


def secret(text):
    """A secret key of a known text, as Z85."""
    tail = bytearray(hashlib.blake2b(text.encode(), digest_size=32 - PART).digest())
    tail[-1] = tail[-1] & 0x7F | 0x40
    return z85.encode(MARK + bytes(tail))


def password(text):
    return MARK.decode() + text


def forms(octets):
    """How a program might write the beginning of a secret, as a pattern."""
    part = octets[:PART]
    return b"|".join(
        [
            re.escape(part),
            re.escape(z85.encode(part)),
            b"(?i:%s)" % part.hex().encode(),
            # Base64 of whole groups of three octets, of both alphabets.
            re.escape(base64.b64encode(part[:6])),
            re.escape(base64.urlsafe_b64encode(part[:6])),
            rb"[, ]\s*".join(b"%d" % octet for octet in part[:6]),
            rb"[, ]\s*".join(b"0x%02x" % octet for octet in part[:6]),
        ]
    )


def plant(key):
    """A secret key that somebody has made, as Z85: it is looked for as well."""
    octets = z85.decode(key)
    _patterns[octets] = re.compile(forms(octets))
    return key


def watch(path):
    """A file that is looked through at the end."""
    _files.add(path)


def said(what, text):
    """Something that was said: a command's output, a page."""
    _texts.append((what, text if isinstance(text, bytes) else text.encode()))


def leaks(texts=None):
    """Where a secret stands: what was written, and the line."""
    if texts is None:
        files = ((path, path.read_bytes()) for path in sorted(_files) if path.exists())
        texts = [*files, *_texts]
    patterns = [re.compile(forms(MARK)), *_patterns.values()]
    found = []
    for what, text in texts:
        for pattern in patterns:
            for hit in pattern.finditer(text):
                line = text.count(b"\n", 0, hit.start()) + 1
                found.append(f"{what}:{line}: {hit.group()!r}")
    return found


def public(key):
    """The public key of a secret one, both in Z85."""
    return zmq.curve_public(key)
