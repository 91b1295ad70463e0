"""luthier-runner of this machine through a pipe, and behind a real ssh that is cut."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from remote_cases import QUICK, WORKLOADS, check_configs

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import native_target
from luthier.kernels.noise import Noise
from luthier.kernels.workload import Workload
from luthier.target import profile
from luthier.tuner import Database, Effort, Progress, Task, device_of, remote, tune
from luthier.tuner.link import Handle, Link, emulator, over_ssh, program, runner_path
from luthier.tuner.record import Failed, Start, Trial
from luthier.tuner.remote import RemoteMeasurer

ROOT = Path(__file__).parents[2]
GEMM = Workload.parse(WORKLOADS[0])


@pytest.fixture(scope="module")
def machine() -> str:
    """This machine's name; its runner is built."""
    done = subprocess.run(
        [sys.executable, "tools/runner.py", os.uname().machine],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return os.uname().machine


@pytest.fixture
def wire(machine: str) -> Iterator[Link]:
    opened = program(machine)()
    yield opened
    opened.close()


@pytest.fixture
def measurer(machine: str) -> Iterator[RemoteMeasurer]:
    with RemoteMeasurer(program(machine), QUICK) as opened:
        yield opened


# -- the program ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", WORKLOADS)
def test_answers_are_right(measurer: RemoteMeasurer, key: str) -> None:
    check_configs(measurer, key)


def test_the_device_is_described_as_by_itself(
    measurer: RemoteMeasurer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LUTHIER_ISA", raising=False)
    found, here = measurer.target, native_target()
    assert (found.clusters, found.isas, found.features) == (here.clusters, here.isas, here.features)
    default = measurer.space(GEMM).default
    state = measurer.measure(GEMM, default, default).environment
    assert state.pinning == tuple(sorted(os.sched_getaffinity(0)))


def test_confirmation(measurer: RemoteMeasurer) -> None:
    space = measurer.space(GEMM)
    results = measurer.confirm(GEMM, space.configs[:3], space.default)
    assert [r.status for r in results] == ["ok"] * 3
    assert measurer.confirm(GEMM, [], space.default) == []


def test_a_wrong_answer_is_found(measurer: RemoteMeasurer, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = remote.call_slots
    monkeypatch.setattr(remote, "call_slots", lambda *given: {**slots(*given), "bias": None})
    default = measurer.space(GEMM).default
    assert measurer.measure(GEMM, default, default).status == "wrong"


def test_what_the_device_does_not_have_is_refused(measurer: RemoteMeasurer) -> None:
    default = measurer.space(GEMM).default
    result = measurer.measure(GEMM, {**default, "mr": 99}, default)
    assert (result.status, result.error) == ("constraint", "no such variant on this CPU")


@pytest.mark.parametrize(("shape", "seed"), [((0,), 0), ((5, 7), 1), ((1001,), 4294967295)])
def test_noise_is_the_same_in_c(wire: Link, shape: tuple[int, ...], seed: int) -> None:
    noise = Noise(shape, seed)
    held = wire.buffer(noise)
    wire.trial()
    assert wire.data("read", held.id) == noise.array.tobytes()


def test_noise_has_unit_variance() -> None:
    numbers = Noise((200_000,), 3).array
    assert abs(float(numbers.mean())) < 0.01 and abs(float(numbers.var()) - 1) < 0.01
    assert np.abs(numbers).max() <= np.float32(1.7320508)


def gemm_call(wire: Link, **changes: int) -> tuple[Handle, Handle]:
    """A buffer, and a gemm of 4 x 4 x 4 on it whose slots lie as told."""
    held = wire.buffer(np.zeros(256, np.float32))
    sizes = {"batch": 1, "m": 4, "n": 4, "k": 4, "lda": 4, "ldy": 4, "w_ks": 4, "w_ns": 1}
    tile = {"isa": 0, "mr": 4, "nv": 1, "ku": 1, "mc": 4, "nc": 4, "kc": 4, "threads": 1}
    slots = {"a": held, "w": held, "y": held, **sizes, **tile, **changes}
    return held, wire.call("gemm", 1, slots)


def test_a_crash_kills_only_the_trial(wire: Link) -> None:
    _held, call = gemm_call(wire, m=1 << 24, lda=1 << 12, ldy=1 << 12)
    wire.trial()
    with pytest.raises(Failed, match="Segmentation fault") as failure:
        wire.ask("run", call.id, 20)
    assert failure.value.status == "crash"
    _other, sound = gemm_call(wire)
    wire.trial()
    assert wire.ask("run", sound.id, 20) == ""


def test_a_hang_is_ended(wire: Link) -> None:
    _held, call = gemm_call(wire, batch=1 << 34)
    wire.trial()
    with pytest.raises(Failed, match="took too long") as failure:
        wire.ask("run", call.id, 1)
    assert failure.value.status == "run_timeout"
    wire.trial()


def test_unused_buffers_are_forgotten(wire: Link) -> None:
    for _ in range(1000):
        wire.buffer(np.zeros(16, np.float32))
    assert len(wire.free) > 200


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("frobnicate 1", "not understood"),
        ("room 1 99999999999999", "bad buffer"),
        ("room 1 -5", "bad buffer"),
        ("room 0 5", "bad buffer"),
        ("room 256 5", "bad buffer"),
        ("room 1 4294967296", "no memory"),
        ("noise 1", "bad buffer"),
        ("call 1 gemm 99 m=1", "bad call"),
        ("call 1 nothing 1 m=1", "no such operator"),
        ("call 1 gemm 1 zz=1", "no such argument"),
        ("call 1 gemm 1 m=x", "bad value"),
        ("call 1 gemm 1 m", "no such argument"),
        ("drop 999", "not understood"),
        ("run 1 5", "not understood"),
        ("file /etc/passwd", "not told"),
        ("file /proc/../etc/passwd", "not told"),
    ],
)
def test_requests_are_checked(wire: Link, request_: str, reason: str) -> None:
    with pytest.raises(KernelError, match=reason):
        wire.ask(*request_.split(" "))
    assert wire.ask("hello").startswith("protocol=1")


def test_a_trial_takes_no_other_requests(wire: Link) -> None:
    wire.trial()
    for words in (("room", 1, 5), ("trial",), ("run", 77, 5), ("time", 1, 0, 5), ("read", 9)):
        with pytest.raises(KernelError, match=r"not in a trial|no such|bad arguments"):
            wire.ask(*words)


def test_damaged_bytes_are_refused(wire: Link) -> None:
    with pytest.raises(KernelError, match="damaged on the way"):
        wire.ask("put", 1, 4, 1234, payload=b"abcd")


def test_noise_on_the_line_ends_the_program(machine: str) -> None:
    """Whatever comes in, it answers or ends; it never hangs."""
    rng = random.Random(1)
    verbs = ["hello", "put", "room", "call", "trial", "end", "read", "run", "time", "drop", "sum"]
    for _ in range(40):
        lines = [
            " ".join([str(i), rng.choice(verbs), *(str(rng.randint(-2, 9)) for _ in range(4))])
            for i in range(30)
        ]
        text = "\n".join(lines).encode() + rng.randbytes(rng.randint(0, 300))
        done = subprocess.run(
            [runner_path(machine)], input=text, capture_output=True, timeout=20, check=False
        )
        assert done.returncode in (0, 1)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["no-such-program"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit('out of order')"], "out of order"),
        ([sys.executable, "-c", "print('1 data 99999999999999 0', flush=True)"], "too much data"),
        ([sys.executable, "-c", "print('1 data x', flush=True)"], "invalid literal|not enough"),
        ([sys.executable, "-c", "print('x' * 99999, flush=True)"], "speak the protocol"),
        ([sys.executable, "-c", "print('1 data 1 0\\nx', flush=True)"], "damaged on the way"),
    ],
)
def test_a_device_is_not_trusted(words: list[str], reason: str) -> None:
    with pytest.raises(Failed, match=reason):
        Link(words)


def test_a_runner_of_other_sources_is_refused() -> None:
    words = [sys.executable, "-c", "print('1 ok protocol=1 kernels=abc', flush=True)"]
    with pytest.raises(ArgumentError, match="of other sources"):
        Link(words)


@pytest.mark.parametrize(
    "address",
    ["ssh://", "ssh://host:port", "ssh://a:b@host", "ssh://host/path", "ssh://-x@host", "tcp://h"],
)
def test_addresses(address: str) -> None:
    with pytest.raises(ArgumentError, match="device"):
        over_ssh(address)


def test_only_arm_is_emulated() -> None:
    with pytest.raises(ArgumentError, match="only aarch64 is emulated"):
        emulator(profile("x86-64-v3"))


# -- behind ssh ----------------------------------------------------------------------------------


class Server:
    """An sshd of our own on the loopback."""

    def __init__(self, folder: Path, port: int) -> None:
        self.command = [shutil.which("sshd", path=os.defpath + ":/usr/sbin"), "-D", "-e"]
        self.command += ["-f", str(folder / "sshd_config")]
        self.port, self.files = port, folder / "device"
        self.address = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def cut(self) -> int:
        """Kill what serves the connections; return how many processes that were."""
        children = [int(p) for p in _children(self.process.pid)]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        return len(children)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture(scope="module")
def server(machine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = os.environ["PATH"] + ":/usr/sbin"
    if not (shutil.which("sshd", path=path) and shutil.which("ssh")):
        if os.environ.get("LUTHIER_REQUIRE_SSH"):
            pytest.fail("ssh and sshd are required")
        pytest.skip("needs ssh and sshd")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "device").mkdir()
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized")
    host = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nSetEnv TMPDIR={folder}/device\n"
    )
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "ssh"
    wrapper.write_text(
        f"#!/bin/sh\nexec {shutil.which('ssh')} -F none -i {folder}/user -o IdentitiesOnly=yes"
        f' -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=yes "$@"\n'
    )
    wrapper.chmod(0o755)
    running = Server(folder, port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        patch.setattr(remote, "PAUSES", (0.0, 0.1, 0.2))
        yield running
    running.stop()


def test_ssh_leaves_nothing_behind(server: Server) -> None:
    with RemoteMeasurer(over_ssh(server.address), QUICK) as measurer:
        check_configs(measurer, WORKLOADS[0], 2)
        assert list(server.files.iterdir()) == []
    assert list(server.files.iterdir()) == []


def test_no_record_is_lost_when_the_connection_is_cut(server: Server, tmp_path: Path) -> None:
    """After the third trial, and in the middle of a later one."""
    notices: list[str] = []
    cuts: list[int] = []

    class Cutter(Progress):
        count = 0

        def on_trial(self, *_: object) -> None:
            self.count += 1
            if self.count == 3:
                cuts.append(server.cut())
            if self.count == 6:
                threading.Timer(0.1, lambda: cuts.append(server.cut())).start()

    database = Database(tmp_path / "records.jsonl")
    effort = Effort(sample=0.03, samples=1, most=1, rounds=2)
    with RemoteMeasurer(over_ssh(server.address), effort, on_notice=notices.append) as measurer:
        device = device_of(measurer.target)
        report = tune(
            [Task(GEMM, 1)],
            database,
            measurer.target,
            level="quick",
            budget=100,
            measurer=measurer,
            strategy="random",
            progress=Cutter(),
        )
    assert len(cuts) == 2 and min(cuts) >= 1
    assert sum(n.startswith("device lost") for n in notices) == 2
    assert notices.count("connected again") == 2
    records = database.records()
    starts = [r for r in records if isinstance(r, Start)]
    trials = [r for r in records if isinstance(r, Trial)]
    assert len(starts) == len(trials) == report.tasks[0].trials == 24
    assert {r.result.status for r in trials} == {"ok"}
    assert {r.device for r in records} == {device}
    assert report.tasks[0].verdict is not None
    assert list(server.files.iterdir()) == []


def test_a_device_that_stays_away_ends_the_run(server: Server, tmp_path: Path) -> None:
    database = Database(tmp_path / "records.jsonl")

    class Stopper(Progress):
        count = 0

        def on_trial(self, *_: object) -> None:
            self.count += 1
            if self.count == 2:
                server.cut()
                server.stop()

    try:
        with (
            RemoteMeasurer(over_ssh(server.address), QUICK) as measurer,
            pytest.raises(KernelError, match=r"cannot measure: .*refused"),
        ):
            tune(
                [Task(GEMM, 1)],
                database,
                measurer.target,
                level="quick",
                measurer=measurer,
                strategy="random",
                progress=Stopper(),
            )
    finally:
        server.start()
    statuses = [r.result.status for r in database.records() if isinstance(r, Trial)]
    assert statuses == ["ok", "ok", "device_lost"]


def test_unreachable_devices_are_one_line(server: Server) -> None:
    with pytest.raises(Failed, match="refused"):
        RemoteMeasurer(over_ssh("ssh://127.0.0.1:1"))
    stranger = server.address.replace("ssh://", "ssh://no-such-user-")
    with pytest.raises(Failed, match="Permission denied"):
        RemoteMeasurer(over_ssh(stranger))


def test_another_device_is_not_taken_for_the_first(machine: str) -> None:
    with RemoteMeasurer(program(machine), QUICK) as measurer:
        measurer._fingerprint = "of the first"
        measurer._link.close()
        default = measurer.space(GEMM).default
        result = measurer.measure(GEMM, default, default)
        assert (result.status, result.error[:23]) == ("device_lost", "another device answers:")
