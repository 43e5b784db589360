"""Tasks: what `Async.` calls return, and the record of a step whose failure xapi only records."""

from __future__ import annotations

import contextvars
import datetime
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lab.xapi.database import Database
from lab.xapi.errors import ApiError, ToolstackGone, Unimplemented
from lab.xapi.schema import NULL


def now() -> str:
    """The time as the XenAPI writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H:%M:%SZ")


@contextmanager
def operation(db: Database, cls: str, ref: str, value: str, subtask_of: str = NULL) -> Iterator[str]:
    """Inside the `with` block, an object has an operation, whose key is the reference of a new task.

    As xapi does: first the operation is removed (xapi_vm_helpers.ml:1669-1683), then the task of a call that is not
    Async is destroyed (server_helpers.ml:170).
    """
    task = db.create("task", name_label=f"{cls}.{value}", created=now(), subtask_of=subtask_of)
    try:
        db.add_key(cls, ref, "current_operations", task, value)
        yield task
    finally:
        db.remove_key(cls, ref, "current_operations", task)
        db.destroy("task", task)


class Tasks:
    """Runs calls, each with a task record that has the outcome."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def start(self, name: str, call: Callable[..., Any], *params: Any) -> str:
        """Run in the background; returns the task's reference at once."""
        task = self._new(name)
        inside = contextvars.copy_context()
        beside = threading.Thread(target=inside.run, args=(self._run, task, call, params), name=name, daemon=True)
        beside.start()
        return task

    def run(self, name: str, call: Callable[..., Any], *params: Any) -> str:
        """Run to the end; only the task has the failure."""
        task = self._new(name)
        self._finish(task, call, params)
        return task

    def _run(self, task: str, call: Callable[..., Any], params: tuple[Any, ...]) -> None:
        with suppress(ToolstackGone):
            self._finish(task, call, params)

    def _new(self, name: str) -> str:
        return self._db.create("task", name_label=name, created=now())

    def _finish(self, task: str, call: Callable[..., Any], params: tuple[Any, ...]) -> None:
        db = self._db
        try:
            result = call(*params)
        except ApiError as error:
            db.set("task", task, "error_info", error.description)
            status = "failure"
        except Unimplemented as error:
            db.set("task", task, "error_info", ["UNIMPLEMENTED_IN_SM_BACKEND", str(error)])
            status = "failure"
        except ToolstackGone:
            # when xapi starts, it cancels its unfinished tasks (cancel_tasks.ml:157-176)
            db.set("task", task, "status", "cancelled")
            raise
        else:
            db.set("task", task, "result", f"<value>{result}</value>" if result else "")
            status = "success"
        db.set("task", task, "progress", 1.0)
        db.set("task", task, "finished", now())
        db.set("task", task, "status", status)
