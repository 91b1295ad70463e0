# cython: language_level=3, boundscheck=False, wraparound=False
"""Plans in C: argument structs, where their pointers go, and the loop over the steps."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy
cimport numpy as cnp

import numpy as np

from luthier.errors import ArgumentError, InvalidModelError, KernelError
from luthier.kernels._kernels import STATUS

cnp.import_array()


cdef extern from "luthier/lt_ops.h":
    const int LT_BAD_INDEX
    ctypedef int (*lt_run_fn)(const void *) noexcept nogil

    ctypedef struct lt_op:
        pass

cdef extern from "executor.h" nogil:
    ctypedef struct lt_step:
        lt_run_fn run
        int64_t args
    ctypedef struct lt_relocation:
        int64_t slot
        int64_t buffer
        int64_t offset
    void lt_relocate(const lt_relocation *relocations, int64_t count, void *args, int64_t buffer, const void *base)
    int64_t lt_run_steps(const lt_step *steps, int64_t first, int64_t end, const char *args, double *times, int *status)

cdef extern from "luthier.h" nogil:
    int LUTHIER_NO_FILE, LUTHIER_NO_MEMORY
    ctypedef struct luthier_tensor:
        const char *name
        int64_t type
        int64_t rank
        int64_t dims[8]

cdef extern from "luthier/lt_reach.h":
    ctypedef struct lt_reach:
        pass

ctypedef int (*lt_reach_fn)(int64_t, const void *, lt_reach *) noexcept nogil

cdef extern from "bundle.h" nogil:
    int LT_MESSAGE_SIZE, LT_BUNDLE_VERSION
    ctypedef struct lt_host:
        const lt_op *ops
        int64_t op_count
        lt_reach_fn reach
        int64_t isas
        const char *kernels
    ctypedef struct lt_plan_info:
        const char *target
        const char *fingerprint
        const char *notes
        int64_t isas
        int64_t threads
        int64_t arena_bytes
        int64_t step_count
        int64_t relocation_count
        int64_t args_bytes
    ctypedef struct lt_bundle:
        pass
    ctypedef struct lt_program:
        lt_step *steps
        const char **names
        const lt_relocation *relocations
        char *args
        lt_plan_info info
    int lt_bundle_open(const char *path, const lt_host *host, lt_bundle **bundle, char *message)
    void lt_bundle_close(lt_bundle *bundle)
    const char *lt_bundle_name(const lt_bundle *bundle)
    int64_t lt_bundle_inputs(const lt_bundle *bundle)
    int64_t lt_bundle_outputs(const lt_bundle *bundle)
    int64_t lt_bundle_plans(const lt_bundle *bundle)
    int64_t lt_bundle_weights(const lt_bundle *bundle)
    const luthier_tensor *lt_bundle_tensor(const lt_bundle *bundle, int64_t index)
    lt_plan_info lt_bundle_plan(const lt_bundle *bundle, int64_t plan)
    int64_t lt_bundle_choose(const lt_bundle *bundle, const char *fingerprint)
    int lt_program_make(const lt_bundle *bundle, int64_t plan, lt_program *program, char *message)
    void lt_program_free(lt_program *program)

BUNDLE_VERSION = LT_BUNDLE_VERSION


cdef class Bundle:
    """A file of exported plans, mapped and checked; the plans' programs keep it alive.

    Parameters
    ----------
    path : bytes
    ops : (int, int, int)
        Address and length of the table of operators, and address of ``lt_op_reach``.
    isas : int
        A bit for each ISA that may be used.
    kernels : bytes
        Hash of the kernels' sources.
    """

    cdef lt_bundle *bundle
    cdef bytes kernels

    def __cinit__(self, bytes path, tuple ops, int64_t isas, bytes kernels):
        cdef lt_host host
        cdef char[512] message
        cdef char *name = path
        cdef int status
        cdef uintptr_t table = ops[0], reach = ops[2]
        self.kernels = kernels
        host.ops, host.op_count, host.reach = <const lt_op *>table, ops[1], <lt_reach_fn>reach
        host.isas, host.kernels = isas, self.kernels
        with nogil:
            status = lt_bundle_open(name, &host, &self.bundle, message)
        _check(status, message)

    def __dealloc__(self):
        lt_bundle_close(self.bundle)

    @property
    def name(self):
        """The model's."""
        return lt_bundle_name(self.bundle).decode(errors="replace")

    @property
    def weights_bytes(self):
        return lt_bundle_weights(self.bundle)

    @property
    def tensors(self):
        """Inputs and outputs: two lists of (name, number of type, shape)."""
        cdef int64_t i
        cdef const luthier_tensor *t
        inputs, found = lt_bundle_inputs(self.bundle), []
        for i in range(inputs + lt_bundle_outputs(self.bundle)):
            t = lt_bundle_tensor(self.bundle, i)
            found.append((t.name.decode(errors="replace"), t.type, tuple(t.dims[d] for d in range(t.rank))))
        return found[:inputs], found[inputs:]

    @property
    def plans(self):
        """Of each plan (target, fingerprint, notes, bits of ISAs, threads)."""
        cdef int64_t i
        cdef lt_plan_info p
        found = []
        for i in range(lt_bundle_plans(self.bundle)):
            p = lt_bundle_plan(self.bundle, i)
            texts = (text.decode(errors="replace") for text in (<bytes>p.target, <bytes>p.fingerprint, <bytes>p.notes))
            found.append((*texts, p.isas, p.threads))
        return found

    def choose(self, bytes fingerprint):
        """Index of the plan for this machine, or -1."""
        return lt_bundle_choose(self.bundle, fingerprint)

    def program(self, int64_t plan):
        """The steps of a plan, as a `Program`."""
        cdef lt_program made
        cdef char[512] message
        cdef int64_t i
        if not 0 <= plan < lt_bundle_plans(self.bundle):
            raise IndexError("no such plan")
        _check(lt_program_make(self.bundle, plan, &made, message), message)
        try:
            steps = [
                (<uintptr_t>made.steps[i].run, made.steps[i].args, made.names[i].decode(errors="replace"))
                for i in range(made.info.step_count)
            ]
            relocations = [
                (made.relocations[i].slot, made.relocations[i].buffer, made.relocations[i].offset)
                for i in range(made.info.relocation_count)
                if made.relocations[i].buffer >= 0
            ]
            count = lt_bundle_inputs(self.bundle) + lt_bundle_outputs(self.bundle)
            args = made.args[:made.info.args_bytes]
            return Program(steps, args, relocations, made.info.arena_bytes, count, self)
        finally:
            lt_program_free(&made)


cdef _check(int status, const char *message):
    if status:
        text = message.decode(errors="replace")
        if status == LUTHIER_NO_MEMORY:
            raise MemoryError(text)
        raise (ArgumentError if status == LUTHIER_NO_FILE else InvalidModelError)(text)


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
    owner : object
        What keeps the memory of constants alive, if the caller does not.
    """

    cdef lt_step *steps
    cdef lt_relocation *relocations
    cdef int64_t relocation_count
    cdef bytes args
    cdef list names
    cdef object owner
    cdef readonly int64_t step_count, arena_bytes, buffers

    def __cinit__(
        self, list steps, bytes args, list relocations, int64_t arena_bytes, int64_t buffers, object owner=None
    ):
        cdef int64_t i
        self.owner = owner
        self.step_count, self.relocation_count = len(steps), len(relocations)
        self.args, self.arena_bytes, self.buffers = args, arena_bytes, buffers
        self.names = [name for _, _, name in steps]
        self.steps = <lt_step *>PyMem_Malloc((self.step_count + 1) * sizeof(lt_step))
        self.relocations = <lt_relocation *>PyMem_Malloc((self.relocation_count + 1) * sizeof(lt_relocation))
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
        lt_relocate(self.program.relocations, self.program.relocation_count, self.args, buffer, <void *>base)

    def bind(self, list arrays):
        """Point the inputs and outputs, in order, at the content of these arrays."""
        cdef int64_t i
        cdef lt_relocation *r
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
