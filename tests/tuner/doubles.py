"""A stand-in for `luthier.kernels`: synthetic spaces, and runners with made-up times.

A config's knob ``act`` makes its runner misbehave. Nothing is timed, so results never vary.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from dataclasses import dataclass

import numpy as np

from luthier.errors import KernelError
from luthier.tuner.sampling import Effort

QUICK = Effort(sample=0.001, samples=3, most=5, rounds=4)


@dataclass(frozen=True)
class Workload:
    key: str

    @property
    def op(self) -> str:
        return self.key.split("/")[0]

    @staticmethod
    def parse(key: str) -> Workload:
        return Workload(key)


@dataclass(frozen=True)
class Space:
    knobs: dict
    configs: list
    default: dict
    version: str = "1"
    seeds: tuple = ()


def random_space(seed: int) -> Space:
    """A small space with random knobs, of which a random third of the combinations is illegal."""
    rng = random.Random(seed)
    knobs = {
        f"k{i}": tuple(rng.sample(range(1, 65), rng.randint(1, 5)))
        for i in range(rng.randint(1, 4))
    }
    knobs["algo"] = tuple(rng.sample(("direct", "im2col", "pointwise"), rng.randint(1, 3)))
    every = [dict(zip(knobs, v, strict=True)) for v in itertools.product(*knobs.values())]
    legal = [c for c in every if rng.random() < 2 / 3] or every[:1]
    return Space(knobs, legal, rng.choice(legal))


KNOBS = {
    "algo": ("direct", "im2col"),
    "mr": (1, 2, 4, 6, 8),
    "nv": (1, 2, 3, 4),
    "kc": (64, 128, 256),
}


def seconds(config: dict) -> float:
    """A smooth landscape with one optimum: direct, mr 6, nv 2, kc 128."""
    cost = 1.0 if config["algo"] == "direct" else 1.25
    cost += 0.05 * abs(config["mr"] - 6) + 0.1 * abs(config["nv"] - 2)
    return 1e-3 * (cost + 0.08 * abs(config["kc"] // 64 - 2))


def space(op: str, workload: Workload, target: object = None) -> Space:
    """The synthetic space; a workload key such as ``gemm/crash=8`` says which ``mr`` goes wrong."""
    configs = [dict(zip(KNOBS, v, strict=True)) for v in itertools.product(*KNOBS.values())]
    return Space(KNOBS, configs, {"algo": "im2col", "mr": 4, "nv": 3, "kc": 64})


@dataclass
class Check:
    ok: bool
    max_abs: float = 0.0
    max_rel: float = 0.0


class Runner:
    """Does what the workload's key says for some ``mr``: crash, hang, wrong, raise or refuse."""

    def __init__(self, workload: Workload, config: dict, seed: int = 0) -> None:
        faults = dict(part.split("=") for part in workload.key.split("/")[1:] if "=" in part)
        self.config = config
        self.fault = next((f for f, mr in faults.items() if int(mr) == config["mr"]), "")
        self.noise = np.random.default_rng(seed)
        self.pause = float(os.environ.get("DOUBLES_PAUSE", "0"))
        if self.fault == "refuse":
            raise KernelError("no such variant")
        if self.fault == "raise":
            raise ZeroDivisionError("in the runner")

    def check(self) -> Check:
        return Check(False, float("nan"), 1.0) if self.fault == "wrong" else Check(True)

    def time(self, inner: int) -> float:
        time.sleep(self.pause)
        if self.fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "hang":
            time.sleep(600)
        fast = 0.01 if self.fault == "wrong" else 1.0
        return fast * seconds(self.config) * float(np.exp(self.noise.normal(0, 0.003)))
