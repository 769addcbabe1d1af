"""The linear algebra of NumPy and SciPy, beside torch, which has threads of its own."""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def one_blas_thread() -> threadpool_limits:
    """A context in which NumPy and SciPy compute with one thread.

    Their OpenBLAS starts a thread per core, which spin while they wait for work: on vectors of some ten thousand
    numbers, as L-BFGS has them, they wait nearly always, and torch's own threads wait for the cores. A fit of a head
    took four times as long with two threads as with one, on two idle cores.
    """
    return threadpool_limits(limits=1, user_api="blas")
