"""A process that checks descriptions, so that nobody's call waits for it.

A line of JSON is a question (``data``, N-Triples), a line of JSON the answer. It ends with its
standard input, so with the site, whatever ends that.
"""

import gc
import os
import resource
import signal
import sys
from typing import BinaryIO, Final

import msgspec

from registry.ontology.findings import Answered, Asked
from registry.ontology.shapes import Shapes

MEMORY: Final = 1 << 30
"""Bytes of address space that it may have."""
NICE: Final = 10


def answer(shapes: Shapes, line: bytes) -> Answered:
    """Check one graph; whatever is wrong with it harms no other."""
    try:
        asked = msgspec.json.decode(line, type=Asked)
        return Answered(tuple(shapes.check(asked.data)))
    except Exception as error:  # whatever a graph does to the libraries
        return Answered(error=f"{type(error).__name__}: {error}"[:300])


def run(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more questions."""
    shapes = Shapes()
    gc.freeze()
    for line in questions:
        answers.write(msgspec.json.encode(answer(shapes, line)) + b"\n")
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the site, which ends us
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    run(sys.stdin.buffer, sys.stdout.buffer)
