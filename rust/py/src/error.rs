//! The exception `smblock.Error`.

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::text::for_xml;

/// SM's name for a failure without a better name: an error inside smblock.
pub const SM_GENERAL: &str = "SMGeneral";

/// The id of an error inside smblock itself, in docs/user/errors.md.
pub const INTERNAL: &str = "SMB-P001";

const DOC: &str = "\
A storage operation failed.

str(error)  what failed, on which object, and what to do about it
error.id    the id of the error in docs/user/errors.md (\"SMB-C015\"), or None
error.key   the name of SM's error, as in XE_SR_ERRORCODES.xml (\"VDIInUse\", \"SRNoSpace\", ...)
error.errno the errno of the call that failed, or None";

mod python {
    pyo3::create_exception!(smblock, Error, pyo3::exceptions::PyException);
}

/// The class `smblock.Error`, a subclass of `Exception`.
///
/// `id`, `key` and `errno` have defaults on the class, so that every instance has them, also one that Python
/// code raises.
pub fn class(py: Python<'_>) -> PyResult<&PyType> {
    let class = py.get_type::<python::Error>();
    class.setattr("__doc__", DOC)?;
    class.setattr("id", py.None())?;
    class.setattr("key", SM_GENERAL)?;
    class.setattr("errno", py.None())?;
    Ok(class)
}

/// The content of a `smblock.Error`. The errors of the other crates convert into this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The id of the error in docs/user/errors.md. The text begins with it.
    pub id: Option<&'static str>,
    /// The name of an error in SM's `XE_SR_ERRORCODES.xml`. SM replaces a name that this file does not have
    /// by "unknown key", without the text.
    pub key: &'static str,
    /// The errno of the cluster or the kernel, positive, if there is one.
    pub errno: Option<i32>,
    /// What failed, on which object, and what to do about it. Never a secret: xapi logs it.
    pub message: String,
}

impl Failure {
    /// Returns the text for `xe` and SMlog: `SMB-C015: VDI ... is in use: ...`.
    fn text(&self) -> String {
        match self.id {
            Some(id) => format!("{id}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::with_gil(|py| {
            let error = python::Error::new_err(for_xml(&failure.text()).into_owned());
            let value = error.instance(py);
            let filled = value
                .setattr("id", failure.id)
                .and_then(|()| value.setattr("key", failure.key))
                .and_then(|()| value.setattr("errno", failure.errno));
            // Only out of memory can fail here. That error is returned instead.
            filled.err().unwrap_or(error)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use pyo3::exceptions::PyException;

    fn failure() -> Failure {
        Failure {
            id: Some("SMB-C015"),
            key: "VDIInUse",
            errno: Some(16),
            message: "VDI 1234 is in use on host h2; shut down the VM there".to_owned(),
        }
    }

    #[test]
    fn an_error_carries_its_id_sms_name_the_errno_and_the_message() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            class(py).unwrap();
            let error = PyErr::from(failure());
            let value = error.instance(py);
            assert_eq!(
                value.getattr("key").unwrap().extract::<&str>().unwrap(),
                "VDIInUse"
            );
            assert_eq!(
                value.getattr("errno").unwrap().extract::<i32>().unwrap(),
                16
            );
            assert_eq!(
                value.getattr("id").unwrap().extract::<&str>().unwrap(),
                "SMB-C015"
            );
            let text = value.str().unwrap();
            let text = text.to_str().unwrap();
            assert_eq!(text, format!("SMB-C015: {}", failure().message));
        });
    }

    #[test]
    fn an_error_has_no_character_that_xml_does_not_allow() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            let message = "the lock 'ctl\u{1}x'".to_owned();
            let error = PyErr::from(Failure {
                message,
                ..failure()
            });
            let text = error.instance(py).str().unwrap().to_str().unwrap();
            assert_eq!(text, "SMB-C015: the lock 'ctl\\u{1}x'");
        });
    }

    #[test]
    fn an_error_without_an_errno_has_the_errno_none() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            class(py).unwrap();
            let error = PyErr::from(Failure {
                errno: None,
                ..failure()
            });
            assert!(error.instance(py).getattr("errno").unwrap().is_none());
        });
    }

    #[test]
    fn sms_own_handlers_catch_an_error() {
        pyo3::prepare_freethreaded_python();
        Python::with_gil(|py| {
            assert!(class(py).unwrap().is_subclass::<PyException>().unwrap());
            assert!(PyErr::from(failure()).is_instance::<PyException>(py));
        });
    }
}
