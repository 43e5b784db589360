//! The two functions between Python and Rust, which turn a panic into an error.
//!
//! pyo3 turns a panic into `PanicException`, a `BaseException`. SM's `SRCommand` catches `Exception` only:
//! xapi would get a traceback instead of a reply, and report a broken backend. So a panic is caught here,
//! and becomes an ordinary `smblock.Error` with the place of the panic.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe, PanicHookInfo};

use pyo3::prelude::*;

use crate::error::{Failure, INTERNAL, SM_GENERAL};
use crate::failures::key_for;

thread_local! {
    /// The place of the last panic of this thread. Only the hook gets it, `catch_unwind` does not.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Replaces the default panic hook, which writes to stderr, by one that keeps the panic's place for
/// [`attached`] and [`detached`], and logs it: a panic of another thread reaches no caller.
pub fn keep_report_for_error() {
    set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        log::error!("panic at {place}: {}", text(info.payload()));
        PLACE.with(|slot| *slot.borrow_mut() = Some(place));
    }));
}

/// Runs `work`, which needs Python objects, holding the GIL. For conversions and short calls.
///
/// `operation` names the call in the error that a panic becomes: `"SR.scan"`.
pub fn attached<T>(operation: &str, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // A panic may leave data of `work` half-changed. That is memory-safe, and the process runs one SM
    // command: the next command undoes what was not finished, from the journal.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(from_panic(operation, payload.as_ref()).into()))
}

/// Runs `work` without the GIL, so that Python's other threads run meanwhile. For calls that may wait: for
/// the cluster, the kernel, a lock.
pub fn detached<T, E>(
    py: Python<'_>,
    operation: &str,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T>
where
    T: Send,
    E: Send,
    Failure: From<E>,
{
    attached(operation, || {
        py.allow_threads(work).map_err(|error| {
            let failure = Failure::from(error);
            let key = key_for(operation, failure.key);
            Failure { key, ..failure }.into()
        })
    })
}

fn from_panic(operation: &str, payload: &(dyn Any + Send)) -> Failure {
    let place = PLACE.with(|slot| slot.borrow_mut().take());
    Failure {
        id: Some(INTERNAL),
        key: SM_GENERAL,
        errno: None,
        message: format!(
            "{operation}: internal error in smblock {} at {}: {}. This is a bug: please report it with /var/log/SMlog",
            env!("CARGO_PKG_VERSION"),
            place.as_deref().unwrap_or("an unknown place"),
            text(payload),
        ),
    }
}

/// `panic!` carries a `&str` or a `String`; only `panic_any` carries anything else.
fn text(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use pyo3::types::PyDict;
    use pyo3::wrap_pyfunction;

    #[pyfunction]
    fn panics_without_the_gil(py: Python<'_>) -> PyResult<()> {
        detached(py, "SR.scan", || -> Result<(), Failure> {
            panic!("index {} out of range", 7)
        })
    }

    #[pyfunction]
    fn panics_with_the_gil() -> PyResult<()> {
        attached("VDI.update", || panic!("no such record"))
    }

    /// Calls `function` as SM does, in a `try` that catches `Exception`, and returns what it caught.
    fn caught_by_sm(function: &str) -> (String, String) {
        pyo3::prepare_freethreaded_python();
        keep_report_for_error();
        Python::with_gil(|py| {
            let module = PyModule::new(py, "core").unwrap();
            module
                .add_function(wrap_pyfunction!(panics_without_the_gil, module).unwrap())
                .unwrap();
            module
                .add_function(wrap_pyfunction!(panics_with_the_gil, module).unwrap())
                .unwrap();
            let names = PyDict::new(py);
            names
                .set_item("call", module.getattr(function).unwrap())
                .unwrap();
            py.run(
                "try:\n    call()\nexcept Exception as error:\n    key, message = error.key, str(error)\n",
                Some(names),
                None,
            )
            .unwrap();
            let name = |name| names.get_item(name).unwrap().extract::<String>().unwrap();
            (name("key"), name("message"))
        })
    }

    #[test]
    fn a_panic_without_the_gil_reaches_sm_as_an_ordinary_error() {
        let (key, message) = caught_by_sm("panics_without_the_gil");
        assert_eq!(key, SM_GENERAL);
        assert!(
            message.starts_with("SMB-P001: SR.scan: internal error"),
            "{message}"
        );
        assert!(message.contains("index 7 out of range"), "{message}");
        assert!(message.contains("panic.rs:"), "{message}");
    }

    #[test]
    fn a_panic_with_the_gil_reaches_sm_as_an_ordinary_error() {
        let (key, message) = caught_by_sm("panics_with_the_gil");
        assert_eq!(key, SM_GENERAL);
        assert!(message.contains("no such record"), "{message}");
    }

    #[test]
    fn the_interpreter_works_after_a_panic() {
        caught_by_sm("panics_without_the_gil");
        Python::with_gil(|py| {
            let sum: i32 = py.eval("1 + 1", None, None).unwrap().extract().unwrap();
            assert_eq!(sum, 2);
            let detached: i32 = detached(py, "SR.stat", || Ok::<_, Failure>(2)).unwrap();
            assert_eq!(detached, 2);
        });
    }

    #[test]
    fn other_threads_run_python_while_a_call_waits() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            // Ends only if the other thread gets the GIL that this one holds on entry.
            detached(py, "SR.scan", || {
                std::thread::spawn(|| Python::with_gil(|py| py.None()))
                    .join()
                    .map(drop)
                    .map_err(|_| Failure {
                        id: None,
                        key: SM_GENERAL,
                        errno: None,
                        message: "thread".to_owned(),
                    })
            })
            .unwrap();
        });
    }
}
