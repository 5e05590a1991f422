"""The old architecture: Flask, its threaded server, the network under PyTorch on the CPU. Prints its port and serves."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from flask import Flask, jsonify, request
from werkzeug.serving import make_server

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _serve_model import SIDE, torch_model

app = Flask("peer")
network = torch_model()


@app.post("/infer")
def infer() -> object:
    crop = np.frombuffer(request.get_data(), np.uint8).reshape(1, 3, SIDE, SIDE)
    with torch.no_grad():
        scores = network(torch.from_numpy(crop.copy()))
    return jsonify(scores=scores[0].tolist())


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.socket.listen(4096)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
