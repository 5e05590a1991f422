"""The ``percept`` command: verbs are loaded only when called, so that ``percept --help`` is quick."""

from __future__ import annotations

import difflib
import importlib
import sys

from percept_ros import __version__
from percept_ros.errors import PerceptError

VERBS: dict[str, tuple[str, str]] = {
    "doctor": ("percept_ros.cli.doctor", "what this machine has, what is missing and what to do about it"),
    "simulate": ("percept_ros.cli.simulate", "make a bag of a simulated drive with ground truth"),
    "convert": ("percept_ros.cli.convert", "turn KITTI, nuScenes or Argoverse 2 data into a bag"),
    "replay": ("percept_ros.cli.replay", "run the pipeline over a bag and report"),
    "demo": ("percept_ros.cli.demo", "simulate, replay through the real nodes, print a table"),
    "status": ("percept_ros.cli.status", "look at the running nodes and steer them"),
    "evaluate": ("percept_ros.cli.evaluate", "score detection and tracking"),
    "train": ("percept_ros.cli.train", "train the shipped models again, or on your own data"),
    "models": ("percept_ros.cli.models", "list, check, build, quantise and time models"),
    "experiment": ("percept_ros.cli.experiment", "models against one another: groups, shadows, canaries, report"),
    "gateway": ("percept_ros.cli.gateway", "HTTP front: inference, health, figures, live page"),
    "soak": ("percept_ros.cli.soak", "real processes under planned faults, scored from outside"),
    "profile": ("percept_ros.cli.profile", "profiles of running nodes, as flame graphs"),
    "bench": ("percept_ros.cli.bench", "measure against a peer in the same run"),
}
"""Verb -> (module with a Typer ``app``, one line of help)."""


def overview() -> str:
    """The page that ``percept`` and ``percept --help`` print."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            "percept: cameras and a LiDAR in, tracked obstacles with predicted paths out.",
            "",
            "usage: percept VERB [options]        percept VERB --help shows the options and an example",
            "",
            *lines,
            "",
            "First steps:  percept doctor   then   percept demo",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 the answer is no, 2 wrong use or bad input)."""
    args = sys.argv[1:] if argv is None else argv
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if args else 2
    if args[0] == "--version":
        print(__version__)
        return 0
    if args[0] not in VERBS:
        close = difflib.get_close_matches(args[0], VERBS, 1)
        hint = f"did you mean '{close[0]}'?" if close else "see percept --help"
        print(f"percept: no verb '{args[0]}'; {hint}", file=sys.stderr)
        return 2
    return _run(args[0], args[1:])


def _run(verb: str, args: list[str]) -> int:
    try:
        importlib.import_module(VERBS[verb][0]).app(args=args, prog_name=f"percept {verb}")
    except PerceptError as exc:
        print(f"percept {verb}: {exc}", file=sys.stderr)
        return 2
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    except KeyboardInterrupt:
        print(f"percept {verb}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
