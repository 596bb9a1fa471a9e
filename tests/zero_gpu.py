"""A stand-in for the decorator of the package `spaces`, read from its version 0.51.3, on any machine.

A decorated generator runs in a forked process, which is used again while it is alive. Its arguments and every
yielded value are pickled. Closing the outer generator sets an event, at which the process looks between two
values. Of an exception only the name of its class comes back, unless it is a gr.Error.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.queues import SimpleQueue

import gradio as gr

FORK = multiprocessing.get_context("fork")


class Gpu:
    """The decorator. calls: what it was called with, in seconds.  workers: all that it has started.

    reuse: whether a worker that is done serves the next call too.  spent: whether the quota is.
    """

    def __init__(self, reuse: bool = True) -> None:
        self.reuse, self.spent = reuse, False
        self.calls: list[int] = []
        self.workers: list[Process] = []
        self.idle: Process | None = None

    def __call__(self, *, duration: Callable[..., int]) -> Callable:
        """As `spaces.GPU(duration=...)`."""
        return lambda task: lambda *args: self.run(task, duration, args)

    def run(self, task: Callable, duration: Callable[..., int], args: tuple) -> Iterator:
        """The values that the task yields in its process."""
        if self.spent:
            raise gr.Error("You have exceeded your ZeroGPU quota (60s requested vs. 0s left).")
        self.calls.append(duration(*args))
        worker, self.idle = self.idle, None
        if worker is None:
            self.workers.append(worker := Process(task))
        worker.asked.put(args)
        ended = False
        try:
            while True:
                kind, value = worker.answer()
                if kind == "end":
                    ended = True
                    return
                if kind == "error":
                    ended = True
                    raise value if isinstance(value, gr.Error) else gr.Error(value)
                try:
                    yield value
                except GeneratorExit:
                    worker.stop.set()
                    raise
        finally:
            while not ended:  # as the package does, until the process says that it is done
                ended = worker.answer()[0] in ("end", "error")
            alive = worker.process.is_alive()
            self.idle = worker if self.reuse and alive else worker.end()

    def end(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.end()


class Process:
    """A forked process that runs a task whenever it is asked to."""

    def __init__(self, task: Callable) -> None:
        self.asked, self.answers = SimpleQueue(ctx=FORK), SimpleQueue(ctx=FORK)
        self.stop, self.task = FORK.Event(), task
        self.process = FORK.Process(target=self.serve, daemon=True)
        self.process.start()

    def answer(self) -> tuple[str, object]:
        """Its next answer; of one that was killed the package's error."""
        while not self.answers._reader.poll(0.05):
            if not self.process.is_alive() and not self.answers._reader.poll(0.05):
                return "error", gr.Error("GPU task aborted")
        return self.answers.get()

    def serve(self) -> None:
        """What runs in the process."""
        while True:
            args = self.asked.get()
            self.stop.clear()
            try:
                steps = self.task(*args)
                for value in steps:
                    if self.stop.is_set():
                        steps.close()
                        break
                    self.answers.put(("value", value))
                self.answers.put(("end", None))
            except gr.Error as error:
                self.answers.put(("error", error))
            except Exception as error:
                self.answers.put(("error", type(error).__name__))

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.join(10)
