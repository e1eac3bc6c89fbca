"""Checks the lines of an archive file, as the format describes them, with nothing but
Python's own library: python3 check.py FILE (decompressed). The checkpoint's signature is for
software that knows C2SP signed notes."""

import base64
import hashlib
import json
import sys


def leaf(line):
    """The event's bytes are what stands behind "event": up to the line's last brace."""
    fields = json.loads(line)
    body = line.split('"event":', 1)[1][:-1].encode()
    salt = base64.b64decode(fields["salt"])
    commitment = hashlib.sha256(b"annals/leaf/v1\n" + salt + body).digest()
    event_id = bytes.fromhex(fields["event"]["id"].replace("-", ""))
    entry = b"\x01" + event_id + commitment
    return fields["position"], hashlib.sha256(b"\x00" + entry).digest()


def root(start, end, leaves, proof):
    if not any(start <= position < end for position in leaves):
        return proof.pop(0)
    if end - start == 1:
        return leaves[start]
    left = 1
    while left * 2 < end - start:
        left *= 2
    pair = root(start, start + left, leaves, proof) + root(start + left, end, leaves, proof)
    return hashlib.sha256(b"\x01" + pair).digest()


lines = open(sys.argv[1], encoding="utf-8", newline="\n").read().split("\n")[:-1]
header, footer = json.loads(lines[0]), json.loads(lines[-1])
assert header["annals"] == "archive v1"
before = "".join(line + "\n" for line in lines[:-1]).encode()
whole = hashlib.sha256(before).hexdigest() == footer["sha256"]
leaves = dict(leaf(line) for line in lines[1:-1])
_, size, signed = footer["checkpoint"].split("\n")[:3]
proof = [base64.b64decode(part) for part in footer["proof"]]
found = root(0, int(size), leaves, proof)
right = whole and not proof and found == base64.b64decode(signed) and len(leaves) == header["events"]
print(f"{'right' if right else 'wrong'}: {len(leaves)} events of {size}")
sys.exit(0 if right else 1)
