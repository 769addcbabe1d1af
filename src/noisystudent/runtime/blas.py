"""The linear algebra of NumPy and SciPy, beside torch, which has threads of its own."""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def one_blas_thread() -> threadpool_limits:
    """A context in which NumPy and SciPy compute with one thread.

    Their OpenBLAS starts a thread per core, which spin while they wait for work: on vectors of some ten thousand
    numbers, as L-BFGS has them, they wait nearly always, and torch's own threads wait for the cores (NOTEBOOK.md).
    """
    return threadpool_limits(limits=1, user_api="blas")
