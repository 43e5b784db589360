//! What only XAPI knows or can do, through a Python object that has a session with it.

use std::sync::Arc;

use pyo3::prelude::*;
use sr_ceph::dom0::Toolstack;
use uuid::Uuid;

/// The Python object `Toolstack` of the SM drivers.
pub struct PythonToolstack(pub Arc<PyObject>);

type Reply<T> = Result<T, String>;

impl PythonToolstack {
    /// Calls a method with strings; an exception becomes its text.
    fn call<T: for<'p> FromPyObject<'p>>(&self, method: &str, arguments: &[&str]) -> Reply<T> {
        Python::with_gil(|py| {
            let arguments = pyo3::types::PyTuple::new(py, arguments);
            let reply = self.0.call_method1(py, method, arguments);
            let reply = reply.and_then(|reply| reply.extract(py));
            reply.map_err(|e| e.to_string())
        })
    }

    fn run(&self, method: &str, arguments: &[&str]) -> Reply<()> {
        self.call::<PyObject>(method, arguments).map(drop)
    }
}

impl Toolstack for PythonToolstack {
    fn pool_uuid(&self) -> Reply<String> {
        self.call("pool_uuid", &[])
    }

    fn knows_host(&self, host: &str) -> Reply<bool> {
        self.call("knows_host", &[host])
    }

    fn declared_dead(&self, host: &str) -> Reply<bool> {
        self.call("declared_dead", &[host])
    }

    fn revive(&self) -> Reply<()> {
        self.run("revive", &[])
    }

    fn settle_host(&self, host: &str, vdi: &Uuid) -> Reply<String> {
        self.call("settle_host", &[host, &vdi.to_string()])
    }

    fn alert(
        &self,
        name: &str,
        priority: &str,
        class: &str,
        object: &str,
        text: &str,
    ) -> Reply<()> {
        self.run("alert", &[name, priority, class, object, text])
    }

    fn pause(&self, vdi: &Uuid) -> Reply<()> {
        self.run("pause", &[&vdi.to_string()])
    }

    fn unpause(&self, vdi: &Uuid) -> Reply<()> {
        self.run("unpause", &[&vdi.to_string()])
    }
}
