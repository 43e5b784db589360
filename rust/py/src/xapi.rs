//! Calls of XAPI and SM, through a Python object that has a session with XAPI.

use std::collections::{BTreeMap, HashMap};

use pyo3::prelude::*;
use sr::alarm::{Board, Message, NAME};
use sr::host::{HostError, HostReply};
use sr_crucible::{HostState, SmConfig};
use uuid::Uuid;

/// The Python object `Xapi` of an SR type's driver.
pub struct PythonXapi(pub PyObject);

type Reply<T> = Result<T, String>;

impl PythonXapi {
    /// Calls a method with strings. An exception becomes its text.
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

    /// Calls a method with UUIDs.
    fn call_with<T: for<'p> FromPyObject<'p>>(&self, method: &str, vdis: &[Uuid]) -> Reply<T> {
        let vdis: Vec<String> = vdis.iter().map(Uuid::to_string).collect();
        let vdis: Vec<&str> = vdis.iter().map(String::as_str).collect();
        self.call(method, &vdis)
    }
}

/// The result of a method for each VDI. If it raised an exception, that is the result of each.
fn of_each<R, T>(
    vdis: &[Uuid],
    results: Reply<Vec<R>>,
    convert: impl Fn(R) -> Reply<T>,
) -> Vec<Reply<T>> {
    match results {
        Ok(results) => results.into_iter().map(convert).collect(),
        Err(e) => vdis.iter().map(|_| Err(e.clone())).collect(),
    }
}

impl sr_ceph::dom0::Xapi for PythonXapi {
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

    fn reconcile_host(&self, host: &str, vdi: &Uuid) -> Reply<String> {
        self.call("reconcile_host", &[host, &vdi.to_string()])
    }

    fn grows_in_use(&self, vdi: &Uuid) -> Reply<bool> {
        self.call("grows_in_use", &[&vdi.to_string()])
    }

    fn pause(&self, vdis: &[Uuid]) -> Vec<Reply<()>> {
        let errors: Reply<Vec<Option<String>>> = self.call_with("pause", vdis);
        of_each(vdis, errors, |error| error.map_or(Ok(()), Err))
    }

    fn unpause(&self, vdis: &[Uuid]) -> Vec<Reply<bool>> {
        let results: Reply<Vec<(bool, Option<String>)>> = self.call_with("unpause", vdis);
        of_each(vdis, results, |(was_paused, error)| {
            error.map_or(Ok(was_paused), Err)
        })
    }

    fn is_task_over(&self, task: &str) -> Reply<bool> {
        self.call("is_task_over", &[task])
    }
}

/// Converts an error's text for the engine of type crucible.
fn of_xapi<T>(reply: Reply<T>) -> sr::host::Result<T> {
    reply.map_err(|message| HostError {
        message,
        errno: None,
        id: None,
    })
}

impl Board for PythonXapi {
    fn notes(&self) -> sr::host::Result<BTreeMap<String, String>> {
        of_xapi(self.call("alarm_notes", &[]))
    }

    fn add_note(&self, key: &str, value: &str) -> sr::host::Result<bool> {
        of_xapi(self.call("add_alarm_note", &[key, value]))
    }

    fn remove_note(&self, key: &str) -> sr::host::Result<()> {
        of_xapi(self.run("remove_alarm_note", &[key]))
    }

    fn raise(&self, message: &Message) -> sr::host::Result<String> {
        let (priority, object) = (message.priority.to_string(), message.object.as_str());
        let arguments = [NAME, &priority, message.class, object, &message.body];
        of_xapi(self.call("raise_alarm", &arguments))
    }

    fn destroy(&self, message: &str) -> sr::host::Result<()> {
        of_xapi(self.run("destroy_alarm", &[message]))
    }
}

impl sr_crucible::Xapi for PythonXapi {
    fn sm_config(&self, vdi: &Uuid) -> sr::host::Result<Option<SmConfig>> {
        of_xapi(self.call("sm_config", &[&vdi.to_string()]))
    }

    fn add(&self, vdi: &Uuid, key: &str, value: &str) -> sr::host::Result<bool> {
        of_xapi(self.call("add", &[&vdi.to_string(), key, value]))
    }

    fn remove(&self, vdi: &Uuid, key: &str) -> sr::host::Result<()> {
        of_xapi(self.run("remove", &[&vdi.to_string(), key]))
    }

    fn vdis(&self) -> sr::host::Result<Vec<(Uuid, SmConfig)>> {
        let vdis: HashMap<String, SmConfig> = of_xapi(self.call("vdis", &[]))?;
        let vdis = vdis.into_iter().map(|(text, sm_config)| {
            let uuid = text.parse();
            let uuid = uuid.map_err(|_| format!("{text:?} is not the UUID of a VDI"));
            Ok((of_xapi(uuid)?, sm_config))
        });
        vdis.collect()
    }

    fn pool(&self) -> sr::host::Result<String> {
        of_xapi(self.call("pool_uuid", &[]))
    }

    fn host(&self, host: &str) -> sr::host::Result<Option<HostState>> {
        let known: Option<(bool, Option<String>)> = of_xapi(self.call("host_state", &[host]))?;
        Ok(known.map(|(declared_dead, boot_id)| HostState {
            declared_dead,
            boot_id,
        }))
    }

    fn ask(&self, host: &str, vdi: &Uuid) -> sr::host::Result<Option<HostReply>> {
        let reply: String = of_xapi(self.call("reconcile_host", &[host, &vdi.to_string()]))?;
        HostReply::parse(host, &reply)
    }

    fn publish_boot(&self, boot_id: &str) -> sr::host::Result<()> {
        of_xapi(self.run("publish_boot", &[boot_id]))
    }

    fn revive(&self, host: &str) -> sr::host::Result<()> {
        of_xapi(self.run("revive", &[host]))
    }
}

impl sr_crucible::engine::XapiSession for PythonXapi {
    fn secret(&self, secret: &Uuid) -> Reply<String> {
        self.call("secret", &[&secret.to_string()])
    }
}
