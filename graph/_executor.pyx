# cython: language_level=3, boundscheck=False, wraparound=False
"""Plans in C: argument structs, where their pointers go, and the loop over the steps."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy
cimport numpy as cnp

import numpy as np

from luthier.errors import InvalidModelError, KernelError
from luthier.kernels._kernels import STATUS

cnp.import_array()


cdef extern from "luthier/lt_ops.h":
    const int LT_BAD_INDEX
    ctypedef int (*lt_run_fn)(const void *) noexcept nogil

cdef extern from "executor.h" nogil:
    ctypedef struct lt_step:
        lt_run_fn run
        int64_t args
    int64_t lt_run_steps(const lt_step *steps, int64_t first, int64_t end, const char *args, double *times, int *status)

ctypedef struct Relocation:
    int64_t slot    # index of an 8-byte slot in the arguments
    int64_t buffer  # 0 the arena, then the inputs, then the outputs
    int64_t offset  # bytes


cdef class Program:
    """The steps of a plan with their arguments, shared by all its instances.

    Parameters
    ----------
    steps : list of (int, int, str)
        Address of the operator's function, byte offset of its arguments, and what errors call it.
    args : bytes
        All argument structs; pointers to constants are already in them.
    relocations : list of (int, int, int)
        Slot, buffer (0 arena, 1.. inputs then outputs) and byte offset of every other pointer.
    arena_bytes : int
    buffers : int
        Number of inputs and outputs.
    """

    cdef lt_step *steps
    cdef Relocation *relocations
    cdef int64_t step_count, relocation_count
    cdef bytes args
    cdef list names
    cdef readonly int64_t arena_bytes, buffers

    def __cinit__(self, list steps, bytes args, list relocations, int64_t arena_bytes, int64_t buffers):
        cdef int64_t i
        self.step_count, self.relocation_count = len(steps), len(relocations)
        self.args, self.arena_bytes, self.buffers = args, arena_bytes, buffers
        self.names = [name for _, _, name in steps]
        self.steps = <lt_step *>PyMem_Malloc((self.step_count + 1) * sizeof(lt_step))
        self.relocations = <Relocation *>PyMem_Malloc((self.relocation_count + 1) * sizeof(Relocation))
        if self.steps == NULL or self.relocations == NULL:
            raise MemoryError
        for i in range(self.step_count):
            address, self.steps[i].args, _ = steps[i]
            self.steps[i].run = <lt_run_fn><uintptr_t>address
        for i in range(self.relocation_count):
            self.relocations[i].slot, self.relocations[i].buffer, self.relocations[i].offset = relocations[i]

    def __dealloc__(self):
        PyMem_Free(self.steps)
        PyMem_Free(self.relocations)


cdef class Instance:
    """One arena and one copy of the arguments: what a single run needs for itself."""

    cdef Program program
    cdef char *args
    cdef readonly object arena

    def __cinit__(self, Program program):
        cdef char *source = program.args
        self.program = program
        self.args = <char *>PyMem_Malloc(len(program.args) + 1)
        if self.args == NULL:
            raise MemoryError
        memcpy(self.args, source, len(program.args))
        room = np.empty(program.arena_bytes + 64, np.uint8)
        skip = -room.ctypes.data % 64
        self.arena = room[skip : skip + program.arena_bytes]
        self._relocate(0, self.arena.ctypes.data)

    def __dealloc__(self):
        PyMem_Free(self.args)

    cdef void _relocate(self, int64_t buffer, uintptr_t base) noexcept:
        cdef int64_t i
        cdef Relocation *r
        for i in range(self.program.relocation_count):
            r = &self.program.relocations[i]
            if r.buffer == buffer:
                (<int64_t *>self.args)[r.slot] = <int64_t>(base + r.offset)

    def bind(self, list arrays):
        """Point the inputs and outputs, in order, at the content of these arrays."""
        cdef int64_t i
        cdef Relocation *r
        cdef cnp.ndarray array
        if len(arrays) != self.program.buffers:
            raise ValueError("one array an input and output is wanted")
        for i in range(self.program.relocation_count):
            r = &self.program.relocations[i]
            if r.buffer:
                array = arrays[r.buffer - 1]
                (<int64_t *>self.args)[r.slot] = <int64_t>(<uintptr_t>cnp.PyArray_DATA(array) + r.offset)

    def run(self, int64_t first, int64_t end, double[::1] times=None):
        """Run steps [first, end) with the GIL released; with `times`, add each step's seconds to it."""
        cdef int status = 0
        cdef int64_t failed
        cdef double *seconds = NULL
        if not 0 <= first <= end <= self.program.step_count:
            raise ValueError("no such steps")
        if times is not None:
            if times.shape[0] < self.program.step_count:
                raise ValueError("times is too short")
            seconds = &times[0] if times.shape[0] else NULL
        with nogil:
            failed = lt_run_steps(self.program.steps, first, end, self.args, seconds, &status)
        if failed >= 0:
            error = InvalidModelError if status == LT_BAD_INDEX else KernelError
            raise error(f"{self.program.names[failed]}: {STATUS.get(status, status)}")
