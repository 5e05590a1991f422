"""``percept gateway``: the HTTP front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, note
from percept_ros.config import load_config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

EXAMPLE = "Example:  percept gateway --simulate 20    then open http://127.0.0.1:8080"


@app.command(epilog=EXAMPLE)
def gateway(
    config: Path | None = typer.Option(None, help="Configuration (YAML), section gateway."),
    host: str = typer.Option("", help="Address to listen on (default 127.0.0.1: this machine only)."),
    port: int = typer.Option(-1, help="Port; 0 = any free one.", min=-1, max=65535),
    token_file: str = typer.Option("", help="File with the token that callers must send."),
    simulate: float = typer.Option(0.0, help="Drive this many simulated seconds round and round, for the live page."),
    cameras: int = typer.Option(2, min=0, max=8, help="Cameras of the simulated drive."),
    seed: int = typer.Option(1, help="Seed of the simulated drive."),
    openapi: bool = typer.Option(False, help="Print the OpenAPI document and end."),
    json: bool = typer.Option(False, "--json", help="Print where it listens as one JSON object."),
) -> None:
    """Serve inference, health, figures and a live page over HTTP until interrupted."""
    given: dict[str, Any] = {"host": host, "port": port if port >= 0 else "", "token_file": token_file}
    settings = load_config(config, {"gateway": {key: value for key, value in given.items() if value != ""}})
    if openapi:
        from percept_ros.gateway.openapi import document

        emit_json(document(settings.gateway, token=bool(settings.gateway.token_file)))
        return
    from percept_ros.gateway.app import make_gateway
    from percept_ros.gateway.server import Server, read_token, warnings_of

    token = read_token(settings.gateway)
    made = make_gateway(settings, token=token)
    server = Server(made)
    for text in warnings_of(settings.gateway, token):
        note(f"warning: {text}")
    if json:
        emit_json({"url": server.url, "token": bool(token)})
    note(f"listening on {server.url}")
    drive = _drive(made, simulate, cameras, seed) if simulate > 0 else None
    try:
        server.run()
    finally:
        if drive is not None:
            drive.close()


def _drive(made: Any, seconds: float, cameras: int, seed: int) -> Any:
    from percept_ros.gateway.drive import Drive
    from percept_ros.simulate.drive import SimulateConfig, simulate_drive

    config = SimulateConfig(seconds=seconds, cameras=cameras, beams=32, threads=1)
    return Drive(made.perceiver, lambda: (frame.sensors for frame in simulate_drive(config, seed)))
