"""Cycles of gemm, conv2d and their quantised forms, by part."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from luthier.kernels import _kernels, quant_spaces
from luthier.kernels.fields import winograd_tile
from luthier.kernels.workload import Conv2d, Gemm, QConv2d, QGemm, Quantised
from luthier.target import Target
from luthier.tuner.cost.blocks import Operands, Step, blocked, busiest, sweep
from luthier.tuner.cost.core import core_of, gemm_step, lanes, qgemm_step
from luthier.tuner.cost.traffic import COLD_BYTES, Traffic, traffic_of

__all__ = ["product_parts"]

Config = Mapping[str, Any]
Parts = dict[str, float]

TILE_CYCLES = 6.0
"""Of calling a kernel and setting up its sums."""

SEGMENT_CYCLES = 6.0
"""Of one more run of k inside a tile."""

FORK_CYCLES = 5000.0
"""Of waking the other threads and waiting for the last one."""

BLOCK_CYCLES = 60.0
"""Of handing out a block."""

COPY_BYTES = 16.0
"""Bytes copied in a cycle."""

RUN_CYCLES = 8.0
"""Of each contiguous run that is copied."""

COLLISION = 2048
"""Rows so many bytes apart share a set of L1."""

ACTIVATIONS = {"hard_swish": 3.0, "silu": 8.0, "sigmoid": 9.0, "tanh": 10.0, "gelu": 14.0}
"""Cycles of one vector where it is not one."""


def product_parts(w: Any, config: Config, target: Target) -> Parts:
    """Cycles by part of the thread that has most to do."""
    return _Product(w, config, target).parts()


@lru_cache
def _step(target: Target, isa: str, *loop: int) -> Step:
    """The step function of an instruction set; always the same one, for `sweep`. `loop` is `ku` and
    `prefetch`, which products of bytes have not."""
    step = gemm_step if loop else qgemm_step
    return lru_cache(partial(step, core_of(target, isa), isa, *loop))


class _Product:
    """One product on its way to an estimate."""

    def __init__(self, w: Any, config: Config, target: Target) -> None:
        self.w, self.config, self.target = w, config, target
        self.isa = config["isa"]
        self.quantised = isinstance(w, Quantised)
        self.conv = isinstance(w, (Conv2d, QConv2d))
        self.core = core_of(target, self.isa)
        self.width = lanes(self.isa)
        loop = () if self.quantised else (config["ku"], config["prefetch"])
        self.step = _step(target, self.isa, *loop)
        self.threads = max(1, config["threads"])
        self.traffic = traffic_of(target, self.isa, self.threads)
        # Of one value of k in bytes: on the left as kernels read it, in the weights, of a result.
        half = _kernels.half_format(self.isa)
        self.group = quant_spaces._BYTES.get(self.isa, 2) if self.quantised else 1
        self.copied = self.quantised and self.isa not in quant_spaces._BYTES
        self.size = Operands()
        if half:
            self.group, self.copied, self.size = half[1], True, Operands(2, 2, 4)
        elif self.quantised:
            wide = 2 if self.copied else 1
            self.size = Operands(wide, wide, 4 if w.y == "f32" else 1)
        self.left = 1.0 if self.quantised else 4.0

    def parts(self) -> Parts:
        if not self.conv:
            return self._gemm(self.w)
        if winograd_tile(self.config):
            return self._winograd(self.w)
        return self._conv(self.w)

    # -- what they share ---------------------------------------------------------------------

    def _compute(self, rows: int, columns: int, k: int, segments: int = 1) -> Parts:
        """Of one product of so many rows and columns, in as many parts of k as `kc` asks for."""
        mr, nv = self.config["mr"], self.config["nv"]
        whole = sweep(self.step, rows, columns, mr, nv, self.width)
        depth = segments * -(-(k // segments) // self.group)
        parts_of_k = -(-k // min(self.config.get("kc", k), k)) if segments == 1 and k else 1
        store = 1.0 + ACTIVATIONS.get(getattr(self.w, "activation", ""), 1.0) + self.w.residual
        store = store + 5.0 if self.quantised else store
        tiles = whole.tiles * TILE_CYCLES * parts_of_k
        tiles += whole.stores * (store + 2.0 * (parts_of_k - 1)) / min(2.0, self.core.fmas)
        return {
            "compute": whole.step * depth,
            "tiles": tiles,
            "segments": whole.tiles * (segments - 1) * SEGMENT_CYCLES,
        }

    def _share(self, tasks: int) -> float:
        """The share of all work that the busiest thread has."""
        return busiest(tasks, self.threads) / tasks if tasks else 1.0

    def _forks(self, tasks: int, forks: int = 1) -> float:
        own = busiest(tasks, self.threads) * BLOCK_CYCLES
        return own + (forks * FORK_CYCLES if self.threads > 1 else 0.0)

    def _moved(self, parts: Parts, traffic: Traffic) -> Parts:
        return {**parts, "near": traffic.near, "far": traffic.far, "memory": traffic.memory}

    def _block_compute(
        self, rows: int, columns: int, k: int, mc: int, nc: int, segments: int = 1
    ) -> Parts:
        """Of all blocks of `mc` rows by `nc` columns, those at the edges included."""
        blocks = [(rows // mc, mc), (1 if rows % mc else 0, rows % mc)]
        across = [(columns // nc, nc), (1 if columns % nc else 0, columns % nc)]
        total = dict.fromkeys(("compute", "tiles", "segments"), 0.0)
        for times, height in blocks:
            for repeats, width in across:
                if not times or not repeats:
                    continue
                for name, cycles in self._compute(height, width, k, segments).items():
                    total[name] += times * repeats * cycles
        return total

    def _panels(self, nc: int, columns: int) -> int:
        """nc as C rounds it: whole panels, but not more columns than there are."""
        panel = self.config["nv"] * self.width
        return min(columns, -(-min(nc, columns) // panel) * panel)

    def _collisions(self, stride: int, mr: int) -> float:
        return 1.4 if stride and stride % COLLISION == 0 and mr > 8 else 1.0

    # -- gemm --------------------------------------------------------------------------------

    def _gemm(self, w: Gemm | QGemm) -> Parts:
        config, k = self.config, max(1, w.k)
        kc = config.get("kc", k)
        if config.get("strassen"):
            return self._strassen(w.m, w.n, k, config["mc"])
        mc, nc = min(config["mc"], w.m) or 1, self._panels(config["nc"], w.n) or 1
        packs = bool(config["pack_a"]) or self.copied
        tasks = -(-w.m // mc) * -(-w.n // nc) * w.batch
        parts = self._block_compute(w.m, w.n, k, mc, nc)
        parts = {name: c * w.batch * self._share(tasks) for name, c in parts.items()}
        parts["compute"] *= self._collisions(0 if packs else int(self.left * w.k), config["mr"])
        mine = blocked(
            self.traffic,
            self.size,
            rows=w.m * w.batch if w.packed else w.m,
            columns=w.n,
            k=k,
            mc=mc,
            nc=nc,
            kc=kc,
            panel=config["nv"] * self.width,
            tile=config["mr"],
            split_n=config["split_n"],
            threads=self.threads,
            total_a=w.m * w.k * w.batch * self.left,
            packs=packs,
        )
        copies = mine * mc * (k * self.left / COPY_BYTES + RUN_CYCLES * -(-k // kc)) if packs else 0
        forks = 1
        if not w.packed and config.get("ku", 1):  # the right side is packed first
            share = 1 / min(self.threads, max(1, w.batch if w.batch > 1 else -(-w.n // self.width)))
            copies += w.batch * k * (w.n * 4 / COPY_BYTES + RUN_CYCLES) * share
            forks = 1 if w.batch > 1 else 2
        parts |= {"copies": copies, "forks": self._forks(tasks, forks)}
        return self._moved(parts, self.traffic)

    def _strassen(self, rows: int, columns: int, k: int, mc: int) -> Parts:
        """Seven products of halves, and sums of quarters between them: ``gemm/strassen.c``."""
        blocks = -(-rows // mc)
        share, half = self._share(blocks), -(-mc // 2)
        parts = self._compute(half, columns // 2, k // 2)
        parts = {name: 7 * blocks * c * share for name, c in parts.items()}
        quarter_a, quarter_c = half * (k // 2), half * (columns // 2)
        sums = 4 * quarter_a + 4 * quarter_c
        mine = busiest(blocks, self.threads)
        weights = 7.0 * (k // 2) * (columns // 2) * 4
        t = self.traffic
        room = 12 * (quarter_a + quarter_c)
        t.add(weights, max(weights, COLD_BYTES))
        t.add((mine - 1) * weights, weights + room)
        t.add(mine * mc * k * 4, rows * k * 4)
        t.add(mine * 7 * quarter_a * 4, room)
        t.add(mine * 12 * quarter_c * 4, room)
        parts |= {
            "transforms": mine * sums * 3 / self.width,
            "forks": self._forks(blocks),
        }
        return self._moved(parts, t)

    # -- convolutions ------------------------------------------------------------------------

    def _conv(self, w: Conv2d | QConv2d) -> Parts:
        config, algo = self.config, self.config["algo"]
        columns, depth = w.k // w.groups, w.c // w.groups
        k = w.r * w.s * depth
        nc = self._panels(config["nc"], columns)
        pixels = w.n * w.oh * w.ow
        if algo == "strassen":
            return self._strassen(pixels, columns, k, config["mc"])
        segments, packs, copies, forks = 1, False, 0.0, 1
        joined = w.groups == 1 and w.dilations[1] == 1
        stride = int(self.left * w.c)
        if algo == "direct":
            lines = min(config["mc"], w.oh)  # rows of the image are products of their own
            rows, mc = w.n * w.oh, lines
            segments = w.r * (1 if joined else w.s)
            stride *= w.strides[1]
            padded = any(w.pads) or self.copied
            if padded:
                share = 1 / min(self.threads, w.n * w.h)
                copies = w.n * w.h * (w.w * w.c * self.left / COPY_BYTES + RUN_CYCLES) * share
                forks = 2
        else:
            mc = min(config["mc"], pixels if algo == "pointwise" else w.oh * w.ow)
            rows = pixels
            packs = algo == "im2col" or self.copied
        tasks = -(-rows // mc) * -(-columns // nc) * w.groups
        if algo == "direct":
            parts = self._block_compute(w.ow, columns, k, w.ow, nc, segments=segments)
            parts = {name: c * rows for name, c in parts.items()}
        else:
            parts = self._block_compute(rows, columns, k, mc, nc)
        parts = {name: c * w.groups * self._share(tasks) for name, c in parts.items()}
        if not packs:
            parts["compute"] *= self._collisions(stride, config["mr"])
        mine = self._conv_traffic(w, mc=mc, nc=nc, k=k, packs=packs)
        if packs:
            runs = w.r * (1 if joined and algo != "pointwise" else w.s)
            each = k * self.left / COPY_BYTES + RUN_CYCLES * runs
            copies += w.groups * mine * mc * each
        parts |= {"copies": copies, "forks": self._forks(tasks, forks)}
        return self._moved(parts, self.traffic)

    def _conv_traffic(self, w: Conv2d | QConv2d, *, mc: int, nc: int, k: int, packs: bool) -> int:
        config = self.config
        direct = config["algo"] == "direct"
        rows = w.n * w.oh * w.ow
        mc = mc * w.ow if direct else mc
        # A window reads its neighbours' pixels again: k values a row, of which these are new.
        seen = min(k, w.c // w.groups * max(1, w.strides[0]) * max(1, w.strides[1]))
        mine = blocked(
            self.traffic,
            self.size,
            rows=rows,
            columns=w.k // w.groups,
            k=k,
            mc=mc,
            nc=nc,
            kc=config.get("kc", k) if not direct else k,
            panel=config["nv"] * self.width,
            tile=config["mr"],
            split_n=config["split_n"],
            threads=self.threads,
            total_a=w.n * w.h * w.w * w.c * self.left,
            packs=packs or direct,
        )
        if packs or direct:
            self.traffic.add(mine * mc * seen * self.left, w.n * w.h * w.w * w.c * self.left)
        return mine

    def _winograd(self, w: Conv2d) -> Parts:
        """Each place is a product of its own, between transforms: ``winograd/winograd.c``."""
        config, size = self.config, winograd_tile(self.config)
        columns, k = w.k // w.groups, w.c // w.groups
        places, span = (size + 2) ** 2, size + 2
        tiles = w.n * -(-w.oh // size) * -(-w.ow // size)
        blocks = max(1, -(-tiles // config["mc"]))
        rows, nc = -(-tiles // blocks), self._panels(config["nc"], columns)
        n_blocks = -(-columns // nc)
        tasks = w.groups * blocks * (n_blocks if config["split_n"] else 1)
        share = self._share(tasks)
        parts = self._block_compute(rows, columns, k, rows, nc)
        parts = {name: c * places * blocks * w.groups * share for name, c in parts.items()}
        mine = busiest(tasks, self.threads)
        inputs = self._share(w.groups * blocks) * w.groups * tiles
        vectors_in = -(-k // self.width) * inputs
        vectors_out = -(-columns // self.width) * w.groups * tiles * share
        # Each value of a transform costs about as many sums as the tile is wide, in each direction.
        rate = min(2.0, self.core.fmas)
        transform = (vectors_in + vectors_out) * places * (1.5 + 0.5 * span / rate)
        t = self.traffic
        v, m = places * rows * k * 4.0, places * rows * nc * 4.0
        weights = places * k * columns * 4.0
        if config["split_n"]:
            own = weights * max(1, -(-mine // blocks)) / n_blocks
            t.add(own, max(weights, COLD_BYTES))
            t.add(max(0.0, mine * weights / n_blocks - own), own + v + m)
            t.add(mine * v, v * blocks if blocks > 1 else v)
        else:
            t.add(weights, max(weights, COLD_BYTES))
            t.add((mine - 1) * weights, weights + v + m)
            t.add(mine * n_blocks * v, v + m + weights / places)
        t.add(2.0 * mine * m, m + v)
        t.add(w.n * w.h * w.w * w.c * 4.0 * share, w.n * w.h * w.w * w.c * 4.0)
        t.add(tiles * size * size * columns * 4.0 * share, w.n * w.oh * w.ow * w.k * 4.0)
        tile_reads = mine * places * -(-rows // config["mr"])
        panel = config["nv"] * self.width * k * 4.0
        t.add(tile_reads * panel * (1 if config["split_n"] else n_blocks), panel + rows * k * 4.0)
        parts |= {"transforms": transform, "forks": self._forks(tasks, 1 + config["split_n"])}
        return self._moved(parts, t)
