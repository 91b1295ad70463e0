"""Runs Python with the AVX-VNNI kernels compiled for CPUs that have AVX512-VNNI instead.

    python tools/avxvnni.py -m pytest tests/kernels/test_qgemm.py

The sources are the same, and so are the instructions but for their encoding, EVEX for VEX. So the
answers of these kernels are tested without a CPU that has AVX-VNNI. The build goes to
``build/avxvnni``.
"""

from __future__ import annotations

import sys

import other_build

if __name__ == "__main__":
    switches = {"LUTHIER_AVXVNNI_AS_EVEX": "1"}
    sys.exit(other_build.run("avxvnni", sys.argv[1:], switches))
