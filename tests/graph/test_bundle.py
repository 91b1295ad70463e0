"""Files of exported plans: what they say, and that damage is found."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_model

import luthier
from luthier.graph.bundle import HEADER, Bundle
from luthier.target import profile

STRINGS_BYTES, ISAS = 2, 3
"""Which of the numbers behind the header, and of a plan's, these are."""

X86 = luthier.native_target().arch == "x86_64"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model.write_model(tmp_path_factory.mktemp("model") / "small.onnx")


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    return {"x": (2, 3, 9, 10)}


@pytest.fixture(scope="module")
def exported(model: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    path = model.with_suffix(".luthier")
    luthier.export(model, path, shapes=shapes, num_threads=1, records=None)
    return path


def picture() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, 9, 10), np.float32)


def resealed(data: bytes) -> bytes:
    """The same with a hash that fits, as somebody would write who means harm."""
    return data[: HEADER - 32] + hashlib.sha256(data[HEADER:]).digest() + data[HEADER:]


def test_answers_are_those_of_the_model(model: Path, exported: Path) -> None:
    own = luthier.InferenceSession(model, num_threads=1, records=None)
    session = luthier.InferenceSession(exported)
    assert [i.name for i in session.get_inputs()] == [i.name for i in own.get_inputs()]
    expected, got = own.run(None, {"x": picture()}), session.run(None, {"x": picture()})
    for right, mine in zip(expected, got, strict=True):
        np.testing.assert_array_equal(mine, right)
    nodes = session.plan({"x": picture()}).nodes
    assert [n.kernel for n in nodes] == [n.kernel for n in own.plan({"x": picture()}).nodes]


def test_onnx_is_not_read(exported: Path) -> None:
    code = (
        "import sys, numpy, luthier; s = luthier.InferenceSession(sys.argv[1]);"
        "s.run(None, {'x': numpy.zeros((2, 3, 9, 10), 'f4')}); print('onnx' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_plans_for_several_targets_share_weights(
    model: Path, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "several.luthier"
    targets = ["cortex-a53", "raspberry-pi-4"]
    one = luthier.export(model, path, targets=targets[:1], shapes=shapes, records=None)
    alone = path.stat().st_size
    both = luthier.export(model, path, targets=[*targets, "native"], shapes=shapes, records=None)
    assert len(one) == 1 and len(both) == 3
    here = Bundle(path)
    assert here.targets[here.chosen] == luthier.native_target().name
    arm = path.with_name("arm.luthier")
    luthier.export(model, arm, targets=targets, shapes=shapes, records=None)
    assert arm.stat().st_size - alone < one[0].plan.weights_bytes + 20000
    if X86:
        with pytest.raises(luthier.UnsupportedError, match=r"arm.luthier: no plan suits this CPU"):
            luthier.InferenceSession(arm)


def test_scratch_of_other_architectures_is_known() -> None:
    """`work` of every operator answers alike for all ISAs of as many lanes."""
    from luthier.kernels import _kernels, fields
    from luthier.kernels.spaces import space
    from luthier.kernels.workload import Conv2d, Gemm

    conv = Conv2d(n=1, c=8, h=9, w=9, k=16, r=3, s=3, pads=(1, 1, 1, 1))
    for workload in (conv, Gemm(m=5, n=20, k=7, packed=False)):
        for config in space(workload.op, workload, profile("raspberry-pi-4")).configs:
            slots = fields.workload_fields(workload) | fields.config_fields(config)
            alike = slots | {"isa": _kernels.ISA_NAMES.index("scalar")}
            assert config["isa"] == "neon"
            size = _kernels.work_size(workload.op, slots)
            assert size == _kernels.work_size(workload.op, alike)
            assert size > 0 or config["ku"] == 0 or config["algo"] == "direct"


def test_every_changed_byte_is_found(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    damaged = tmp_path / "damaged.luthier"
    places = {*range(8, HEADER + 80), *range(HEADER + 80, len(data), len(data) // 300)}
    for at in sorted(places):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        damaged.write_bytes(changed)
        with pytest.raises(luthier.InvalidModelError, match=r"damaged\.luthier: "):
            luthier.InferenceSession(damaged)
    for size in {*range(8, HEADER + 90, 7), *range(HEADER, len(data), len(data) // 100)}:
        damaged.write_bytes(data[:size])
        with pytest.raises(luthier.InvalidModelError, match=r"damaged\.luthier: "):
            luthier.InferenceSession(damaged)
    damaged.write_bytes(data + b"\0")
    with pytest.raises(luthier.InvalidModelError, match=r"bytes instead of"):
        luthier.InferenceSession(damaged)


def test_numbers_are_bounded(exported: Path, tmp_path: Path) -> None:
    """Offsets, counts, steps and relocations that lie, under a hash that fits."""
    data = exported.read_bytes()
    numbers = list(struct.unpack_from("<10q", data, HEADER))
    plan_at = numbers[7]
    plan = struct.unpack_from("<12q", data, plan_at)
    steps, steps_at, relocations, relocations_at = plan[6], plan[7], plan[10], plan[11]
    lies = [(HEADER + 8 * i, n + d) for i, n in enumerate(numbers) for d in (-(1 << 62), 1 << 62)]
    lies += [(HEADER + 8 * i, numbers[i] + 1) for i in range(1, 10) if i != STRINGS_BYTES]
    lies += [(plan_at + 8 * i, n) for i in range(12) for n in (-1, 1 << 61)]
    sizes = ((steps_at, steps, -1), (relocations_at, relocations, -7))
    for at, count, low in sizes:
        lies += [(at + 8 * i, n) for i in range(3 * count) for n in (low, 1 << 40)]
    damaged = tmp_path / "lying.luthier"
    for at, number in lies:
        changed = bytearray(data)
        struct.pack_into("<q", changed, at, number)
        damaged.write_bytes(resealed(bytes(changed)))
        unsuitable = at == plan_at + 8 * ISAS and number > 0
        error = luthier.UnsupportedError if unsuitable else luthier.InvalidModelError
        with pytest.raises(error, match=r"lying\.luthier: "):
            luthier.InferenceSession(damaged).plan({"x": picture()})


def test_sizes_and_pointers_are_bounded(exported: Path, tmp_path: Path) -> None:
    """Every argument and relocation of the plan lies, under a hash that fits: no run touches what
    is not the plan's (it would crash), and what is refused is refused by name."""
    data = exported.read_bytes()
    numbers = struct.unpack_from("<10q", data, HEADER)
    plan = struct.unpack_from("<12q", data, numbers[7])
    args_at, args_bytes, relocations, relocations_at = plan[8:12]
    weights_bytes = numbers[9]
    lies = [(args_at + at, n) for at in range(0, args_bytes, 8) for n in (-1, 0, 7, 1 << 20)]
    for i in range(relocations):
        at = relocations_at + 24 * i
        buffer, offset = struct.unpack_from("<2q", data, at + 8)
        lies += [(at + 8, n) for n in range(-1, 4) if n != buffer]
        lies += [(at + 16, n) for n in (4096, weights_bytes - 64, plan[5], offset + 8)]
    changed_file = tmp_path / "lying.luthier"
    refused = 0
    for at, number in lies:
        changed = bytearray(data)
        struct.pack_into("<q", changed, at, number)
        changed_file.write_bytes(resealed(bytes(changed)))
        try:
            luthier.InferenceSession(changed_file).run(None, {"x": picture()})
        except luthier.InvalidModelError as error:
            assert "lying.luthier: " in str(error)
            refused += 1
        except luthier.KernelError as error:  # the operator refuses it when it is called
            assert "out of range" in str(error) or "no such variant" in str(error)
    assert refused > len(lies) // 4


def test_constants_and_inputs_are_not_written(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    numbers = struct.unpack_from("<10q", data, HEADER)
    relocations, at = struct.unpack_from("<12q", data, numbers[7])[10:12]
    changed_file = tmp_path / "writing.luthier"
    outputs = [
        i for i in range(relocations) if struct.unpack_from("<q", data, at + 24 * i + 8)[0] > 1
    ]
    assert len(outputs) == 2
    for i in outputs:
        for buffer in (-1, 1):
            changed = bytearray(data)
            struct.pack_into("<2q", changed, at + 24 * i + 8, buffer, 0)
            changed_file.write_bytes(resealed(bytes(changed)))
            with pytest.raises(luthier.InvalidModelError, match=r"read only|outside its memory"):
                luthier.InferenceSession(changed_file).plan({"x": picture()})


def test_notes_are_checked(exported: Path, tmp_path: Path) -> None:
    data = exported.read_bytes()
    changed_file = tmp_path / "notes.luthier"
    for before, after in (
        (b'"flops": ', b'"Flops": '),
        (b"[{", b"[["),
        (b'"op": "C', b'"op":1,"'),
    ):
        assert data.count(before) >= 1
        changed_file.write_bytes(resealed(data.replace(before, after, 1)))
        with pytest.raises(luthier.InvalidModelError, match=r"notes\.luthier: notes on the steps"):
            luthier.InferenceSession(changed_file).plan({"x": picture()})


def test_a_file_in_use_is_replaced(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.luthier"
    luthier.export(model, path, shapes={"x": (2, 3, 9, 10)}, records=None)
    session = luthier.InferenceSession(path)
    luthier.export(model, path, shapes={"x": (1, 3, 5, 5)}, records=None)
    assert [p.name for p in tmp_path.iterdir()] == ["small.luthier"]
    assert session.run(None, {"x": picture()})[0].shape == (2, 5)
    with pytest.raises(luthier.ArgumentError, match="nowhere"):
        luthier.export(model, tmp_path / "nowhere" / "m.luthier", shapes={"x": (1, 3, 5, 5)})


def test_nodes_without_kernel_are_listed(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node("Det", ["x"], ["y"], name="det")]
    value = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", [2, 2]), ("y", []))
    ]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, tmp_path / "det.onnx")
    with pytest.raises(luthier.UnsupportedError, match=r"1 nodes have no kernel: Det 'det'"):
        luthier.export(tmp_path / "det.onnx", tmp_path / "det.luthier", records=None)


def test_arguments_that_do_not_fit(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(luthier.ArgumentError, match="exported for 1 threads"):
        luthier.InferenceSession(exported, num_threads=7)
    with pytest.raises(luthier.ArgumentError, match=r"expected float32 \[2, 3, 9, 10\]"):
        luthier.InferenceSession(exported).run(None, {"x": np.zeros((1, 3, 9, 10), np.float32)})
    with pytest.raises(luthier.LuthierError, match="nowhere"):
        luthier.InferenceSession(tmp_path / "nowhere.luthier")


def test_records_of_a_device_are_for_its_targets(
    model: Path, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    """What was tuned on a board counts for its own profile and others of its core alone."""
    from luthier.kernels.spaces import VERSION, default_config, space
    from luthier.kernels.workload import Workload
    from luthier.tuner import Database
    from luthier.tuner.choose import device_of, kernels_hash
    from luthier.tuner.record import Reference, Result, Times, Verdict

    records, path = tmp_path / "records.jsonl", tmp_path / "tuned.luthier"
    board, others = profile("raspberry-pi-4"), ("cortex-a72", "cortex-a53")
    arguments = {"shapes": shapes, "num_threads": 1}
    (plain,) = luthier.export(model, path, targets=[board], records=None, **arguments)
    key = next(n.workload for n in plain.plan.nodes if n.op == "Conv")
    workload = Workload.parse(key)
    usual = default_config(workload, board)
    config = next(c for c in space(workload.op, workload, board).configs if c["mr"] != usual["mr"])
    line = Verdict(
        run="r", sequence=1, device=device_of(board), kernels=kernels_hash(), library="0",
        workload=key, space=VERSION, config=config, won=True,
        result=Result(
            "ok",
            times=Times(1e-3, 1e-5, 9e-4, 3, 8, (1e-3, 9e-4, 1.1e-3)),
            reference=Reference(usual, 0.5, 0.49, 0.51),
        ),
    )  # fmt: skip
    Database(records).append(line)
    entries = luthier.export(model, path, targets=[board, *others], records=records, **arguments)
    found = {e.target.name: next(n for n in e.plan.nodes if n.workload == key) for e in entries}
    assert [found[n].rung for n in (board.name, *others)] == ["exact", "core", "default"]
    assert found[board.name].config == found["cortex-a72"].config == config
