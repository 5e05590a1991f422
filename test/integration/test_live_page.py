"""The live page in a real browser: frames arrive, tracks, bird's-eye view and cameras are drawn, nothing complains."""

from __future__ import annotations

from pathlib import Path

import pytest
from headless_browser import Browser, find_browser

from percept_ros.config import load_config
from percept_ros.gateway.app import make_gateway
from percept_ros.gateway.drive import Drive
from percept_ros.gateway.server import Server
from percept_ros.simulate.drive import SimulateConfig, simulate_drive

SCREENSHOT = Path(__file__).parents[2] / "build" / "test_results" / "live_page.png"
FRAMES = """new Promise(done => {
  const look = () => Number(document.body.dataset.frames) >= 12 && document.images.length >= 2
    && document.querySelectorAll('#tracks tbody tr').length > 0 && [...document.images].every(i => i.naturalWidth > 0)
    && requestAnimationFrame(() => requestAnimationFrame(done));
  new MutationObserver(look).observe(document.body, {attributes: true, subtree: true, childList: true});
  look();
})"""
COLOURS = """(() => {
  const canvas = document.getElementById('view'), pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < pixels.length; i += 4) seen.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
  return seen.size;
})()"""


def test_the_page_draws_a_drive(tmp_path: Path) -> None:
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium here: install one, or name it in PERCEPT_BROWSER")
    drive_config = SimulateConfig(seconds=1.5, cameras=2, beams=32, width_px=400, height_px=224, threads=1)
    drive = [frame.sensors for frame in simulate_drive(drive_config, 1)]
    config = load_config(None, {"gateway": {"port": 0}, "detector": {"chain": ["geometric"], "isolation": "thread"}})
    gateway = make_gateway(config)
    with Server(gateway) as server:
        player = Drive(gateway.perceiver, lambda: iter(drive))
        try:
            with Browser(executable, tmp_path / "profile") as browser:
                browser.open(server.url)
                browser.evaluate(FRAMES)
                assert browser.evaluate("document.getElementById('mode').textContent") in (
                    "FULL",
                    "GEOMETRIC",
                    "REDUCED",
                )
                assert browser.evaluate("document.getElementById('link').textContent") == "live"
                assert browser.evaluate("document.getElementById('latency').textContent").endswith(" ms")
                assert browser.evaluate(COLOURS) > 50
                browser.screenshot(SCREENSHOT)
                assert browser.complaints == []
        finally:
            player.close()
    assert SCREENSHOT.stat().st_size > 20_000
