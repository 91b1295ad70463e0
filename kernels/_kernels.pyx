# cython: language_level=3, boundscheck=False, wraparound=False
"""The one boundary between Python and the C kernels.

Arguments are filled by name from the field lists of ``lt_ops.h``; nothing here is written per operator.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
cimport numpy as cnp

from operator import index

import numpy as np

from luthier.errors import KernelError

cnp.import_array()


cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    static void lt_trim_memory(void) { malloc_trim(0); }
    #else
    static void lt_trim_memory(void) {}
    #endif
    """
    void lt_trim_memory()

cdef extern from "luthier/lt_ops.h":
    ctypedef int (*lt_run_fn)(const void *) noexcept nogil
    ctypedef int64_t (*lt_work_fn)(const void *) noexcept nogil
    ctypedef struct lt_op:
        const char *name
        lt_run_fn run
        lt_work_fn work
        const char *fields
    const lt_op lt_op_table[]
    const int lt_op_count

cdef extern from "luthier/lt_reach.h":
    ctypedef struct lt_reach:
        int64_t access
        int64_t begin
        int64_t end
    int lt_op_reach(int64_t op, const void *args, lt_reach *reach)

cdef extern from *:
    const char *LT_SOURCES

cdef extern from "cpu/cpu.h":
    int lt_isa_available(int64_t isa)
    int lt_int8_isa_available(int64_t isa)
    int lt_half_isa_available(int64_t isa)
    int64_t lt_base_isa(int64_t isa)
    int64_t lt_isa_lanes(int64_t isa)
    const char *lt_cpu_features()

cdef extern from "cpu/peak.h" nogil:
    double lt_peak_flops(int64_t isa)
    double lt_peak_int8(int64_t isa)
    double lt_bandwidth(int64_t isa, float *x, int64_t n)

cdef extern from "gemm/gemm.h":
    ctypedef struct lt_tile:
        pass
    ctypedef void (*lt_gemm_fn)(const lt_tile *)
    lt_gemm_fn lt_gemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t ku)
    int64_t lt_packed_size(int64_t lanes, int64_t k, int64_t n)
    void lt_pack_panels(float *dst, const float *src, int64_t k, int64_t n, int64_t ks, int64_t ns, int64_t nr,
                        int64_t lanes, int64_t panel) nogil

cdef extern from "gemm/half.h":
    ctypedef struct lt_half:
        int64_t is_bf16, inner, group
    const lt_half *lt_half_of(int64_t isa)

cdef extern from "quant/qgemm.h":
    ctypedef struct lt_qtile:
        pass
    ctypedef void (*lt_qgemm_fn)(const lt_qtile *)
    ctypedef struct lt_qformat:
        int64_t lanes, group, inner, size, sign
    const lt_qformat *lt_qformat_of(int64_t isa)
    lt_qgemm_fn lt_qgemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t flip)

cdef extern from "cpu/clock.h" nogil:
    double lt_time_calls(lt_run_fn run, const void *const *args, int64_t count, int64_t inner, int *status)
    double lt_time_regions(int64_t threads, int64_t repeats)

SOURCES = LT_SOURCES.decode()
"""Hash of the sources that the kernels were built from."""

ISA_NAMES = (
    *("scalar", "avx2", "avx512", "neon", "avxvnni", "avx512vnni", "neonmull", "neondot", "neoni8mm"),
    *("avx512bf16", "neonfp16", "neonbf16"),
)
"""Names of ``enum lt_isa``, by number. Of those behind "neon", the last three are known to gemm and conv2d alone, the
others to qgemm and qconv2d."""

ACCESSES = ("untouched", "reads", "writes", "checks")
"""Names of ``enum lt_access``."""

STATUS = {1: "an argument is out of range", 2: "no such variant on this CPU", 3: "workspace is missing", 4: "an index is out of range"}


def _read_table():
    table = {}
    for i in range(lt_op_count):
        fields = lt_op_table[i].fields.decode().split()
        slots = {name: (slot, kind) for slot, (kind, name) in enumerate(f.split(":") for f in fields)}
        table[lt_op_table[i].name.decode()] = (i, slots)
    return table


OPS = _read_table()
"""Operator name -> (index, {field: (slot, kind)}); kind is "P", "I" or "D"."""


cdef class Args:
    """The argument struct of one operator call; keeps the arrays that it points to alive.

    Parameters
    ----------
    name : str
        An operator of ``OPS``.
    fields : dict
        Field name to int, float, None or an array (passed as its data pointer). Missing fields are 0.
    """

    cdef int64_t *slots
    cdef int index
    cdef dict layout
    cdef public str name
    cdef dict kept

    def __cinit__(self, str name, dict fields):
        try:
            self.index, self.layout = OPS[name]
        except KeyError:
            raise KernelError(f"no operator {name!r}") from None
        self.name = name
        self.kept = {}
        self.slots = <int64_t *>PyMem_Calloc(len(self.layout), sizeof(int64_t))
        if self.slots == NULL:
            raise MemoryError
        for key, value in fields.items():
            self.set(key, value)

    def __dealloc__(self):
        PyMem_Free(self.slots)

    def set(self, str key, value):
        """Set one field."""
        try:
            slot, kind = self.layout[key]
        except KeyError:
            raise KernelError(f"{self.name} has no argument {key!r}") from None
        try:
            if kind == "D":
                (<double *>self.slots)[<int>slot] = value
            elif kind == "I":
                self.slots[<int>slot] = index(value)
            elif value is None:
                self.slots[<int>slot] = 0
                self.kept.pop(key, None)
            else:
                self.slots[<int>slot] = <int64_t><uintptr_t>cnp.PyArray_DATA(<cnp.ndarray?>value)
                self.kept[key] = value
        except (AttributeError, OverflowError, TypeError) as error:
            raise KernelError(f"{self.name}: argument {key!r}: {error}") from None

    def pack(self):
        """The slots as bytes, for a plan."""
        return (<char *>self.slots)[:8 * len(self.layout)]

    def work_size(self):
        """Bytes of scratch memory that the operator wants in its field ``work``."""
        return lt_op_table[self.index].work(self.slots)

    def run(self):
        """Run once with the GIL released; raise KernelError on a bad status."""
        cdef int status
        cdef lt_run_fn fn = lt_op_table[self.index].run
        with nogil:
            status = fn(self.slots)
        if status:
            raise KernelError(f"{self.name}: {STATUS.get(status, status)}")

    def time(self, int64_t inner, list rotate=None):
        """Seconds per call over `inner` calls made in C.

        Parameters
        ----------
        inner : int
        rotate : list of Args, optional
            Argument structs of the same operator that are called in turn with this one.
        """
        cdef const void *calls[64]
        cdef int64_t count = 1
        cdef int status = 0
        cdef double seconds
        cdef lt_run_fn fn = lt_op_table[self.index].run
        cdef Args other
        calls[0] = self.slots
        for other in (rotate or [])[:63]:
            calls[count] = other.slots
            count += 1
        with nogil:
            seconds = lt_time_calls(fn, calls, count, inner, &status)
        if status:
            raise KernelError(f"{self.name}: {STATUS.get(status, status)}")
        return seconds


cdef enum:
    MAX_SLOTS = 128
    MAX_ARRAYS = 8
    CACHE_LINE = 64


cdef class Call:
    """An operator with all arguments but its arrays: what the NumPy functions keep for arguments that they met before.

    Parameters
    ----------
    name : str
    fields : dict
        As for `Args`, without the arrays.
    arrays : tuple of str
        The fields that a call gives, in this order. Scratch memory is provided.

    Examples
    --------
    >>> add = Call("binary", fields, ("a", "b", "y"))   # doctest: +SKIP
    >>> add(a, b, y)                                    # doctest: +SKIP
    """

    cdef Args args
    cdef int64_t size, count, work
    cdef int64_t[MAX_ARRAYS] places

    def __cinit__(self, str name, dict fields, tuple arrays):
        self.args = Args(name, fields)
        layout = self.args.layout
        self.size, self.count = len(layout), len(arrays)
        if self.size > MAX_SLOTS or self.count > MAX_ARRAYS:
            raise KernelError(f"{name}: too many arguments")
        for i in range(self.count):
            self.places[i] = layout[arrays[i]][0]
        self.work = layout["work"][0] if "work" in layout else -1

    def __call__(self, *arrays):
        # None is a null pointer. A bad status is raised as KernelError.
        cdef int64_t[MAX_SLOTS] slots
        cdef int64_t i, room
        cdef int status
        cdef void *work = NULL
        cdef const lt_op *op = &lt_op_table[self.args.index]
        memcpy(slots, self.args.slots, self.size * sizeof(int64_t))
        if len(arrays) != self.count:
            raise KernelError(f"{self.args.name}: {self.count} arrays are wanted")
        for i in range(self.count):
            if arrays[i] is not None:
                slots[self.places[i]] = <int64_t><uintptr_t>cnp.PyArray_DATA(<cnp.ndarray?>arrays[i])
        room = op.work(slots) if self.work >= 0 else 0
        if room:
            work = malloc(room + CACHE_LINE)
            if work == NULL:
                raise KernelError(f"no memory for {room} bytes")
            slots[self.work] = <int64_t>((<uintptr_t>work + CACHE_LINE - 1) & ~<uintptr_t>(CACHE_LINE - 1))
        with nogil:
            status = op.run(slots)
        free(work)
        if status:
            raise KernelError(f"{self.args.name}: {STATUS.get(status, status)}")


def call(str name, dict fields):
    """Fill the arguments of operator `name`, run it once, and provide scratch memory if it asks for some."""
    args = Args(name, fields)
    size = args.work_size()
    if size and "work" not in fields:
        args.set("work", aligned_bytes(size))
    args.run()


def work_size(str name, dict fields):
    """Bytes of scratch memory that a call with these arguments wants."""
    return Args(name, fields).work_size()


def aligned_bytes(size, alignment=64):
    """Uninitialised uint8 array of `size` bytes that starts at a multiple of `alignment`."""
    try:
        room = np.empty(size + alignment, np.uint8)
    except MemoryError:
        raise KernelError(f"no memory for {size} bytes") from None
    skip = -room.ctypes.data % alignment
    return room[skip : skip + size]


def is_dense_f32(value):
    """Whether `value` is an array of float32 as kernels read it: contiguous, aligned, in this machine's byte order."""
    return (
        cnp.PyArray_Check(value)
        and cnp.PyArray_TYPE(<cnp.ndarray>value) == cnp.NPY_FLOAT32
        and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>value)
    )


def pack_panels(cnp.ndarray matrix, int64_t width, int64_t lanes):
    """A float32 matrix (k, n), of any strides, as panels of `width` columns, the last as narrow as whole vectors allow."""
    if matrix.ndim != 2 or cnp.PyArray_TYPE(matrix) != cnp.NPY_FLOAT32 or width < 1 or lanes < 1:
        raise KernelError("pack_panels: a float32 matrix is wanted")
    cdef int64_t k = matrix.shape[0], n = matrix.shape[1], panel
    cdef int64_t ks = matrix.strides[0] // 4, ns = matrix.strides[1] // 4
    cdef cnp.npy_intp size = lt_packed_size(lanes, k, n)
    cdef cnp.ndarray packed = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT32, 0)
    cdef float *to = <float *>cnp.PyArray_DATA(packed)
    cdef const float *source = <const float *>cnp.PyArray_DATA(matrix)
    with nogil:
        for panel in range((n + width - 1) // width):
            lt_pack_panels(to, source, k, n, ks, ns, width, lanes, panel)
    return packed


def cpu_isas():
    """Names of the ISAs that this CPU can run, the baseline first and the best last."""
    return [name for i, name in enumerate(ISA_NAMES) if lt_isa_available(i)]


def cpu_int8_isas():
    """The same for qgemm and qconv2d."""
    return [name for i, name in enumerate(ISA_NAMES) if lt_int8_isa_available(i)]


def cpu_half_isas():
    """Those that only the products of 16 bits of gemm and conv2d know."""
    return [name for i, name in enumerate(ISA_NAMES) if lt_half_isa_available(i)]


def isa_lanes(str isa):
    """Columns in a vector of `isa`; but for neonfp16, floats."""
    return lt_isa_lanes(ISA_NAMES.index(isa))


def base_isa(str isa):
    """The ISA whose kernels do the rest beside one of bytes or halves alone; itself where it is not such."""
    return ISA_NAMES[lt_base_isa(ISA_NAMES.index(isa))]


def cpu_features():
    """Names of the CPU's instruction-set features that kernels care for."""
    return lt_cpu_features().decode().split()


def trim_memory():
    """Give freed memory back to the system; where the C library does so by itself, do nothing."""
    lt_trim_memory()


def has_gemm_variant(str isa, int mr, int nv, int ku):
    """Whether the micro-kernel of `mr` rows by `nv` vectors, k unrolled `ku` times, is built in and can run."""
    return lt_gemm_kernel(ISA_NAMES.index(isa), mr, nv, ku) != NULL


def half_format(str isa):
    """The fields of ``lt_half`` (is_bf16, inner, group) of an ISA; None for those of floats."""
    cdef const lt_half *f = lt_half_of(ISA_NAMES.index(isa))
    return (f.is_bf16, f.inner, f.group) if f != NULL else None


def int8_format(str isa):
    """The fields of ``lt_qformat`` (lanes, group, inner, size, sign) of an ISA."""
    cdef const lt_qformat *f = lt_qformat_of(ISA_NAMES.index(isa))
    return f.lanes, f.group, f.inner, f.size, f.sign


def has_qgemm_variant(str isa, int mr, int nv):
    """The same of qgemm and qconv2d."""
    return lt_qgemm_kernel(ISA_NAMES.index(isa), mr, nv, 0) != NULL


def entry_points():
    """Operator name -> address of its ``run``, for the executor's plans."""
    return {lt_op_table[i].name.decode(): <uintptr_t>lt_op_table[i].run for i in range(lt_op_count)}


def op_table():
    """Address and length of ``lt_op_table``, and address of ``lt_op_reach``, for exported plans."""
    return <uintptr_t>lt_op_table, lt_op_count, <uintptr_t>&lt_op_reach


def reach(str name, dict fields):
    """What a call of operator `name` touches: field -> (access, begin, end), the latter in bytes from its pointer on.

    Raises
    ------
    KernelError
        Sizes are negative or too large, or it is not known of this operator.
    """
    cdef lt_reach[64] found  # LT_MAX_SLOTS
    args = Args(name, fields)
    status = lt_op_reach(args.index, args.slots, found)
    if status:
        raise KernelError(f"{name}: {STATUS.get(status, status)}")
    return {
        field: (ACCESSES[found[slot].access], found[slot].begin, found[slot].end)
        for field, (slot, kind) in args.layout.items()
        if kind == "P" and field != "work"
    }


def parallel_overhead(int threads, int64_t repeats=10000):
    """Seconds that one empty parallel region of `threads` tasks costs, averaged over `repeats`."""
    cdef double seconds
    with nogil:
        seconds = lt_time_regions(threads, repeats)
    return seconds


def bandwidth(str isa, float[::1] buffer):
    """Measured bytes a second that one thread streams through `buffer`, which is overwritten."""
    cdef int64_t number = ISA_NAMES.index(isa)
    cdef int64_t count = buffer.shape[0]
    cdef double rate
    if not count:
        raise ValueError("the buffer is empty")
    with nogil:
        rate = lt_bandwidth(number, &buffer[0], count)
    return rate


def peak_flops(str isa):
    """Measured floating-point operations a second of one thread with the multiply-adds of `isa`."""
    cdef int64_t number = ISA_NAMES.index(isa)
    cdef double rate
    with nogil:
        rate = lt_peak_flops(number)
    return rate


def peak_int8(str isa):
    """The same of qgemm's products of bytes, each multiply-add counted as two operations."""
    cdef int64_t number = ISA_NAMES.index(isa)
    cdef double rate
    with nogil:
        rate = lt_peak_int8(number)
    return rate
