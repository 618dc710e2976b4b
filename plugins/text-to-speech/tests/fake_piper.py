"""A program with the options of piper-tts 1.8 that are used (`piper --help`): reads lines, and writes
0.1 s of a tone for each letter, 22,050 samples a second. Other options end it."""

import argparse
import math
import struct
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("-m", required=True)
parser.add_argument("--output-raw", action="store_true", required=True)
parser.add_argument("--length-scale", type=float, required=True)
parser.add_argument("--sentence-silence", type=float, required=True)
asked = parser.parse_args()
for line in sys.stdin:
    if "die" in line:
        sys.exit(f"the voice is broken: {line}")
    letters = sum(c.isalpha() for c in line)
    count = round(2205 * letters * asked.length_scale)
    tone = [round(8000 * math.sin(2 * math.pi * 440 * at / 22050)) for at in range(count)]
    sys.stdout.buffer.write(struct.pack(f"<{count}h", *tone))
    sys.stdout.buffer.flush()
    if "wait" in line:
        while True:  # until it is ended
            time.sleep(0.1)  # noqa: TID251 - a program of its own
