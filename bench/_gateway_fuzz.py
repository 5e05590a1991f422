"""Calls made up from the OpenAPI document (schemathesis): right ones, wrong ones, and right ones with damaged data."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import msgpack
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.internal.conjecture import utils as drawing
from schemathesis import DataGenerationMethod
from schemathesis.exceptions import SkipTest

KIND = "application/msgpack"
TIMEOUT_S = 20.0


def _more(elements: Any) -> bool:
    """``many.more()``, which hypothesis-jsonschema 0.23 calls and Hypothesis 6.170 has no longer."""
    if not hasattr(elements, "steps"):
        elements.steps = iter(elements.__enter__())
    if next(elements.steps, elements) is elements:
        elements.__exit__(None, None, None)
        return False
    return True


if not hasattr(drawing.many, "more"):
    drawing.many.more = _more  # type: ignore[attr-defined]


@dataclass
class Fuzzed:
    """What the calls got. odd: operation, status and body of server errors other than a 504 with its fallback."""

    calls: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)

    def take(self, operation: str, response: Any) -> None:
        """Count one answer, and judge it."""
        self.calls += 1
        self.statuses[response.status_code] += 1
        if response.status_code >= 500 and not documented(response):
            self.odd.append(f"{operation} -> {response.status_code} {response.text[:200]}")


def documented(response: Any) -> bool:
    """Whether a 504 carries the fallback, or a 503 is the answer of a health check."""
    if response.status_code == 504:
        tree = _tree(response)
        return isinstance(tree, dict) and "fallback" in tree and tree.get("error", {}).get("reason") == "deadline"
    return response.status_code == 503 and "/healthz/" in response.url


def _tree(response: Any) -> Any:
    try:
        return msgpack.unpackb(response.content) if KIND in response.headers["content-type"] else response.json()
    except ValueError:
        return None


@schemathesis.serializer(KIND)
class Msgpack:
    """Bodies as msgpack; text that stands for binary data becomes bytes."""

    def as_requests(self, context: Any, value: Any) -> dict[str, Any]:
        return {"data": msgpack.packb(plain(value), default=str), "headers": {"content-type": KIND}}

    def as_werkzeug(self, context: Any, value: Any) -> dict[str, Any]:
        return {"data": msgpack.packb(plain(value), default=str)}


def plain(value: Any) -> Any:
    """What msgpack can carry."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "data") and isinstance(value.data, bytes):
        return value.data
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return float(min(max(value, -(10**300)), 10**300))
    return value


def fuzz(url: str, calls: int, seed: int) -> Fuzzed:
    """At least ``calls`` calls over every operation of the document served at ``url``; most to the operations with a body."""
    document = requests.get(f"{url}/openapi.json", timeout=TIMEOUT_S).json()
    fuzzed, session = Fuzzed(), requests.Session()
    schema = schemathesis.from_dict(document, base_url=url, data_generation_methods=DataGenerationMethod.all())
    operations = [result.ok() for result in schema.get_all_operations()]
    weights = {op.verbose_name: 8 if op.body else 1 for op in operations}
    share, round_seed = calls / sum(weights.values()), seed
    while fuzzed.calls < calls:
        for operation in operations if round_seed == seed else [op for op in operations if op.body]:
            _both(operation, max(1, round(share * weights[operation.verbose_name])), round_seed, session, fuzzed)
        share, round_seed = (calls - fuzzed.calls) / 8, round_seed + 1
    return fuzzed


def _both(operation: Any, wanted: int, seed: int, session: Any, fuzzed: Fuzzed) -> None:
    """Right calls and, a quarter, wrong ones."""
    wrong = -(-wanted // 4)
    _run(operation, DataGenerationMethod.positive, max(1, wanted - wrong), seed, session, fuzzed)
    _run(operation, DataGenerationMethod.negative, wrong, seed, session, fuzzed)


def _run(operation: Any, method: Any, wanted: int, seed: int, session: Any, fuzzed: Fuzzed) -> None:
    name = operation.verbose_name

    @hypothesis.seed(seed)
    @settings(
        max_examples=wanted,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(data_generation_method=method))
    def one(case: Any) -> None:
        fuzzed.take(name, case.call(session=session, timeout=TIMEOUT_S))

    try:
        one()
    except (hypothesis.errors.Unsatisfiable, SkipTest):
        return  # nothing wrong can be said to an operation without parameters


def damage(url: str, body: bytes, calls: int, seed: int) -> Fuzzed:
    """A right body, cut, flipped, grown or shuffled, ``calls`` times."""
    chance, fuzzed, session = random.Random(seed), Fuzzed(), requests.Session()
    for _ in range(calls):
        data = damaged(body, chance)
        response = session.post(f"{url}/v1/perceive", data=data, headers={"content-type": KIND}, timeout=TIMEOUT_S)
        fuzzed.take("damaged", response)
    return fuzzed


def damaged(body: bytes, chance: random.Random) -> bytes:
    """One damaged copy; most of the damage is done near the front, where the structure is."""
    data = bytearray(body)
    way = chance.randrange(4)
    if way == 0:
        del data[chance.randrange(len(data)) :]
    elif way == 1:
        for _ in range(chance.randrange(1, 8)):
            reach = len(data) if chance.random() < 0.3 else min(len(data), 300)
            data[chance.randrange(reach)] = chance.randrange(256)
    elif way == 2:
        at = chance.randrange(len(data))
        data[at:at] = chance.randbytes(chance.randrange(1, 64))
    else:
        begin = chance.randrange(len(data))
        del data[begin : begin + chance.randrange(1, 64)]
    return bytes(data)


def summary(parts: list[Fuzzed]) -> dict[str, Any]:
    """All parts together."""
    statuses: Counter[int] = sum((part.statuses for part in parts), Counter())
    odd = [line for part in parts for line in part.odd]
    return {
        "calls": sum(part.calls for part in parts),
        "server_errors": len(odd),
        "first_errors": odd[:5],
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }
