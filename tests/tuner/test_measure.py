"""The worker answers, and its death or silence is an answer as well."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
import types

import doubles
import pytest
from doubles import QUICK

from luthier.errors import KernelError
from luthier.tuner import LocalMeasurer, device_of, kernels_hash
from luthier.tuner.environment import Watch, undisturbed

REFERENCE = doubles.space("gemm", doubles.Workload("gemm")).default
BEST = {"algo": "direct", "mr": 6, "nv": 2, "kc": 128}
TRUE_RATIO = doubles.seconds(BEST) / doubles.seconds(REFERENCE)


def measure(measurer: LocalMeasurer, faults: str = "", config: dict = BEST, **arguments):
    return measurer.measure(doubles.Workload("gemm" + faults), config, REFERENCE, **arguments)


def test_a_sound_config(measurer: LocalMeasurer) -> None:
    result = measure(measurer)
    assert result.ok
    assert result.ratio == pytest.approx(TRUE_RATIO, rel=0.02)
    assert result.seconds == pytest.approx(doubles.seconds(BEST), rel=0.02)
    assert result.reference.config == REFERENCE
    assert result.reference.lo <= result.ratio <= result.reference.hi
    assert result.check.ok
    assert result.times.n == len(result.times.samples) >= QUICK.samples


def test_the_reference_has_ratio_one(measurer: LocalMeasurer) -> None:
    assert measure(measurer, config=REFERENCE).ratio == 1.0


def test_a_slow_config_is_dropped_early(measurer: LocalMeasurer) -> None:
    slow = {"algo": "im2col", "mr": 1, "nv": 4, "kc": 256}
    assert measure(measurer, config=slow, best=0.5).times.n == 2


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("crash", "crash", "Segmentation fault"),
        ("wrong", "wrong", "largest error: not finite"),
        ("refuse", "constraint", "no such variant"),
        ("raise", "run_error", "ZeroDivisionError: in the runner"),
    ],
)
def test_a_failure_is_a_result(
    measurer: LocalMeasurer, fault: str, status: str, error: str
) -> None:
    result = measure(measurer, f"/{fault}=6")
    assert (result.status, result.error) == (status, error)
    assert result.ratio is None
    assert measure(measurer).ok  # the next one is not affected


def test_a_hang_ends_by_the_timeout(measurer: LocalMeasurer) -> None:
    measure(measurer)  # the worker is up: what follows is not its start
    measurer.timeout = 0.5
    result = measure(measurer, "/hang=6")
    assert (result.status, result.error) == ("run_timeout", "no answer within 0.5 s")
    measurer.timeout = 20
    assert measure(measurer).ok


def test_a_failing_reference_fails_every_config(measurer: LocalMeasurer) -> None:
    assert measure(measurer, "/wrong=4").status == "wrong"
    confirmed = measurer.confirm(doubles.Workload("gemm/wrong=4"), [BEST, BEST], REFERENCE)
    assert [r.status for r in confirmed] == ["wrong", "wrong"]


def test_confirmation_compares_several(measurer: LocalMeasurer) -> None:
    configs = [BEST, REFERENCE, {**BEST, "mr": 8}]
    results = measurer.confirm(doubles.Workload("gemm/wrong=8"), configs, REFERENCE)
    assert [r.status for r in results] == ["ok", "ok", "wrong"]
    assert results[0].reference.hi < 0.7
    assert results[1].ratio == pytest.approx(1.0, abs=0.01)
    assert measurer.confirm(doubles.Workload("gemm"), [], REFERENCE) == []


def test_a_crash_during_confirmation(measurer: LocalMeasurer) -> None:
    results = measurer.confirm(doubles.Workload("gemm/crash=6"), [BEST, REFERENCE], REFERENCE)
    assert [r.status for r in results] == ["crash", "crash"]


def test_one_worker_serves_many_trials(measurer: LocalMeasurer) -> None:
    measure(measurer)
    first = measurer._process.pid
    measure(measurer, config=REFERENCE)
    assert measurer._process.pid == first


def test_the_worker_ends_with_its_tuner(measurer: LocalMeasurer) -> None:
    measure(measurer)
    process = measurer._process
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_a_worker_that_was_killed_is_replaced(measurer: LocalMeasurer) -> None:
    measure(measurer)
    os.kill(measurer._process.pid, signal.SIGKILL)
    measurer._process.wait()
    assert measure(measurer).status == "crash"
    assert measure(measurer).ok


def test_a_worker_that_cannot_start(measurer: LocalMeasurer) -> None:
    broken = LocalMeasurer(
        QUICK, module="doubles", command=[sys.executable, "-c", "raise SystemExit('no kernels')"]
    )
    result = measure(broken)
    assert (result.status, result.error) == (
        "device_lost",
        "worker does not start: exit code 1: no kernels",
    )


def test_missing_kernels_are_one_clear_error() -> None:
    with pytest.raises(KernelError, match="no_such_module: the compiled kernels are missing"):
        kernels_hash("no_such_module")


def test_the_environment_is_read() -> None:
    watch = Watch()
    time.sleep(0.03)  # the kernel counts in hundredths of a second
    found = watch.read()
    assert found.pinning == tuple(sorted(os.sched_getaffinity(0)))
    assert found.steal is None or 0 <= found.steal <= 1


def test_the_device_of_a_target() -> None:
    from luthier.target import profile

    target = profile("raspberry-pi-4")
    device = device_of(target)
    assert (device.fingerprint, device.core) == (target.fingerprint, "cortex-a72")
    assert device.isa == "neon"
    assert device_of(device) is device


def test_a_disturbed_sample_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the attempts lose the CPU; each attempt is half as long as the one before."""
    switches = iter([0, 3, 3, 4, 4, 4])
    usage = lambda who: types.SimpleNamespace(ru_nivcsw=next(switches))  # noqa: E731
    monkeypatch.setattr("luthier.tuner.environment.resource.getrusage", usage)
    asked: list[int] = []

    def timer(inner: int) -> float:
        asked.append(inner)
        return 1.0 / len(asked)

    assert undisturbed(timer)(100) == 1 / 3
    assert asked == [100, 50, 25]


def test_on_a_busy_machine_the_least_disturbed_sample_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switches = itertools.count()
    usage = lambda who: types.SimpleNamespace(ru_nivcsw=next(switches))  # noqa: E731
    monkeypatch.setattr("luthier.tuner.environment.resource.getrusage", usage)
    samples = iter([4.0, 2.0, 3.0, 5.0])
    assert undisturbed(lambda inner: next(samples))(2) == 2.0
