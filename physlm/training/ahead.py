"""Blocks of rows, or of other things, that CPU cores make, ahead of the device that trains on them.

    device   | copy 0, train on block 0     | copy 1, train on block 1     | ...
    thread   | make block 1     |           | make block 2     |           | ...

The kernels of such tasks run without the interpreter's lock and use several cores, so the thread that feeds the device
is not held up.  Blocks lie in two buffers of pinned memory in turn, as integers of 16 bits where the vocabulary allows;
they are widened on the device.  The copies are a part of the device's own queue of work, and an event behind each tells
when its buffer is free again.  Only the caller's thread speaks to the device: while it records a CUDA graph, no other
thread may.

A device that is a CPU has no cores to spare: training would wait for the very cores that make the next block.  There
each block is made when it is due, on all cores, and no thread is started.

Shape letters: U sources of data, R rows of a block, W = T + 1 tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from physlm.tasks.task import HostTask

T = TypeVar("T")
IntArray = npt.NDArray[np.int64]
BESIDE = {"cuda": True, "cpu": False}  # whether blocks are made beside training
CHUNK_TOKENS = 1 << 21  # made by one call: 0.1 s of one core, after which a thread that is to stop does so


class BlocksAhead:
    """Block n holds training rows n R .. n R + R - 1 of each source, or the rows that have those places among the rows
    of one process, whatever was asked for before.

    The host keeps two blocks on a GPU, else one, and a chunk; a GPU another one while it is widened there.

    Args:
        sources: tasks, and the stream of each.
        rows: R.
        numbers: from places (r,) to the numbers of the rows.
    """

    def __init__(
        self, sources: Sequence[tuple[HostTask, int]], rows: int, device: torch.device,
        numbers: Callable[[IntArray], IntArray] = lambda places: places,
    ):
        self._sources, self._rows, self._device, self._numbers = list(sources), rows, device, numbers
        self._beside = BESIDE[device.type]
        task = self._sources[0][0]
        shape = (len(self._sources), rows, task.config.row_tokens + 1)
        dtype = torch.int16 if len(task.vocabulary) <= 1 << 15 else torch.int32  # ids and their complements
        self._buffers = [HostBuffer(shape, dtype, device) for _ in range(1 + self._beside)]
        self._begun: _Making[None] | None = None

    def take(self, number: int, more: bool) -> Tensor:
        """Packed rows of block ``number`` on the device, (U, R, W), to be read before the next call.

        Args:
            more: if the block after this one will be wanted: then it is begun.

        Raises:
            UserError: a task has no such rows.  Said of the block that is asked for, never of the one after it.
        """
        buffer, next_buffer = (self._buffers[n % len(self._buffers)] for n in (number, number + 1))
        begun = self._begun
        if begun is not None and begun.number == number and not begun.stop.is_set():
            try:
                begun.wait()
            finally:
                self.close()
        else:
            self.close()
            buffer.wait()
            self._make(number, buffer, threading.Event())
        block_URW = buffer.send(self._device)
        if more and self._beside:
            next_buffer.wait()  # for the copy before this one: the device has work for two blocks at most
            self._begun = _Making(number + 1, partial(self._make, number + 1, next_buffer))
            self._begun.start()  # known before it starts: Ctrl-C may come at any time
        return block_URW

    def close(self) -> None:
        """Give up the block that is being made: no thread is left."""
        if self._begun is not None:
            self._begun.close()
            self._begun = None

    def _make(self, number: int, buffer: HostBuffer, stop: threading.Event) -> None:
        """Fill the buffer.  By numpy alone: in a new thread torch would start threads of its own."""
        for (task, stream), packed_RW in zip(self._sources, buffer.held.numpy(), strict=True):
            chunk = max(1, CHUNK_TOKENS // packed_RW.shape[1])
            for start in range(0, self._rows, chunk):
                if stop.is_set():
                    return
                some_RW = packed_RW[start : start + chunk]
                places = number * self._rows + start + np.arange(len(some_RW))
                some_RW[:] = task.host_rows(self._numbers(places), "train", stream)


def each(make: Callable[[int], Iterable[T]], blocks: int, device: torch.device) -> Generator[T]:
    """What ``make(0)`` gives, then ``make(1)``, and so on; block n + 1 is made while block n is used, as above.

    A block is everything that one call gives.  Whoever leaves early closes the generator, and no thread is left.

    Args:
        make: by numpy alone (``BlocksAhead._make``); it is stopped between two things that it gives.

    Raises:
        What ``make`` does, when the block is due.
    """
    if not BESIDE[device.type]:
        for number in range(blocks):
            yield from make(number)
        return

    def begun(number: int) -> _Making[list[T]]:
        return _Making(number, lambda stop: list(takewhile(lambda _: not stop.is_set(), make(number))))

    making = begun(0)
    try:
        making.start()
        for number in range(1, blocks + 1):
            block = making.wait()
            if number < blocks:
                making = begun(number)
                making.start()
            yield from block
    finally:
        making.close()


class _Making(threading.Thread, Generic[T]):
    """A thread that makes one block and ends; it ends sooner once ``stop`` is set."""

    def __init__(self, number: int, make: Callable[[threading.Event], T]):
        super().__init__(name="rows-ahead")
        self.number, self._make = number, make
        self.stop = threading.Event()
        self._made: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._made.append(self._make(self.stop))
        except BaseException as error:  # of whatever kind: the caller's thread raises it
            self._error = error

    def wait(self) -> T:
        """The block, once it is made; raises what making it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._made.pop()

    def close(self) -> None:
        """Give it up: the thread has ended, if it was started at all."""
        self.stop.set()
        if self.is_alive():
            self.join()


class HostBuffer:
    """A tensor in the host's memory, and when the device has read it."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device):
        on_gpu = device.type == "cuda"
        self.held = torch.empty(shape, dtype=dtype, pin_memory=on_gpu)
        self._read = torch.cuda.Event() if on_gpu else None

    def send(self, device: torch.device) -> Tensor:
        """On the device, after the work that it has; a CPU reads the buffer itself."""
        there = self.held.to(device, non_blocking=True)
        if self._read is not None:
            self._read.record(torch.cuda.current_stream(device))
        return there

    def wait(self) -> None:
        """Until the buffer may be written to: at once, where nothing was sent yet."""
        if self._read is not None:
            self._read.synchronize()
