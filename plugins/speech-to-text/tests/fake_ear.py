"""An engine for tests: it "hears" the text after `says:` in a file, a segment for each `|`, and
dies, waits or refuses on order."""

import os
import signal
import threading

from plugway_media.worker import Refused, serve


def main(channel, config):
    def handle(header, body):
        says = body.partition(b"says:")[2].decode()
        if says == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if says == "refuse":
            raise Refused("the wav file is damaged")
        parts = says.split("|") if says else []
        yield {"duration": 2.0 * len(parts)}, b""
        for at, text in enumerate(parts):
            if text == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "wait":
                while not os.path.exists(config["gate"]):
                    threading.Event().wait(0.02)
                continue
            if text == "asked":
                text = ",".join(f"{k}={header[k]}" for k in ("task", "language", "temperature"))
                text += f",{header['hotwords']},{header['prompt']}"
            words = [
                {"word": word, "start": 2.0 * at, "end": 2.0 * at + 1.5} for word in text.split()
            ]
            segment = {
                "id": at,
                "seek": 0,
                "start": 2.0 * at,
                "end": 2.0 * at + 1.5,
                "text": " " + text,
                "tokens": [1],
                "temperature": 0.0,
                "avg_logprob": -0.5,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.1,
                "words": words if header["words"] else [],
            }
            yield {"segment": segment}, b""
            yield {"done": 2.0 * at + 2.0}, b""
        yield {"language": header["language"] or "en"}, b""

    serve(channel, handle)
