"""Writes audit records until it is killed; says on standard output what is synced."""

import sys
import time
from pathlib import Path

from adapters.audit.writer import AuditWriter, Sizes

writer = AuditWriter(Path(sys.argv[1]), Sizes(file=20_000, files=1000))
writer.start()
number = 0
while True:
    for _ in range(20):
        number += 1
        writer.note({"event": "denied", "name": f"site/{number}"})
    print(writer.head.seq, flush=True)
    time.sleep(0.01)
