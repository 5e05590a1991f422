from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from percept_ros.errors import ResourceExhausted
from percept_ros.inference.buffers import ALIGNMENT, TensorPool, size_class


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (16 << 20, 16 << 20), ((16 << 20) + 1, 32 << 20)],
)
def test_size_class(nbytes: int, expected: int) -> None:
    assert size_class(nbytes) == expected


def test_tensors_are_aligned_and_reused() -> None:
    pool = TensorPool()
    first = pool.take((3, 5), np.float32)
    address = first.array.ctypes.data
    assert address % ALIGNMENT == 0
    assert first.array.flags.c_contiguous
    assert first.array.flags.writeable
    first.release()
    first.release()
    assert pool.take((1000,), np.float32).array.ctypes.data == address
    assert pool.metrics().hits == 1


def test_block_stays_out_while_a_view_lives() -> None:
    pool = TensorPool()
    tensor = pool.take((8, 8), np.float32)
    view = tensor.array[2:][:, ::2].T[1:]
    del tensor
    gc.collect()
    assert pool.metrics().in_use == 1
    del view
    gc.collect()
    metrics = pool.metrics()
    assert metrics.in_use == 0
    assert metrics.leaked == 1


def test_block_comes_back_after_an_exception() -> None:
    pool = TensorPool()

    def fail() -> None:
        array = pool.take((4,), np.float64).array
        raise ValueError(array.shape)

    with pytest.raises(ValueError):
        fail()
    gc.collect()
    assert pool.metrics().in_use == 0


def test_context_manager_releases() -> None:
    pool = TensorPool()
    with pool.take((4,), np.int64) as tensor:
        tensor.array[:] = 7
        assert pool.metrics().in_use == 1
    assert pool.metrics() == pool.metrics()
    assert pool.metrics().leaked == 0


def test_bound_frees_idle_blocks_first_then_refuses() -> None:
    pool = TensorPool(capacity_bytes=3 * 4096)
    pool.take((2048,), np.float32).release()  # 8192 bytes, idle
    held = [pool.take((1,), np.uint8) for _ in range(3)]
    assert pool.metrics().held_bytes == 3 * 4096
    with pytest.raises(ResourceExhausted, match="3 tensors"):
        pool.take((1,), np.uint8)
    assert pool.metrics().refused == 1
    held.pop().release()
    pool.take((1,), np.uint8)


def test_empty_tensor() -> None:
    pool = TensorPool()
    tensor = pool.take((0, 7), np.float32)
    assert tensor.array.shape == (0, 7)
    tensor.release()
    assert pool.metrics().in_use == 0


def test_trim_frees_idle_blocks() -> None:
    pool = TensorPool()
    pool.take((1 << 20,), np.uint8).release()
    pool.trim()
    assert pool.metrics().held_bytes == 0


def test_threads_share_a_pool_without_overlap() -> None:
    pool = TensorPool()
    clashes = []

    def work(mark: int) -> None:
        for _ in range(200):
            with pool.take((64,), np.int32) as tensor:
                tensor.array[:] = mark
                if (tensor.array != mark).any():
                    clashes.append(mark)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
    assert pool.metrics().in_use == 0
    assert pool.metrics().misses <= 4
