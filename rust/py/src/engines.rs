//! The SR types, and the conversion of their errors into SM's.

use std::error::Error as StdError;
use std::ffi::OsString;

use pyo3::prelude::*;
use sr::device_config::Refused;
use sr::engine::{Engine, Error, Pairs, SrType};
use sr::limits::BadLimit;
use sr_ceph::engine::CephEngine;
use sr_crucible::engine::CrucibleEngine;
use uuid::Uuid;

use crate::connection::keep_reply;
use crate::error::{Failure, INTERNAL, SM_GENERAL};
use crate::failures::of_engine;
use crate::unknown_type::UnknownType;
use crate::xapi::PythonXapi;

/// All SR types. A device-config that no type recognises is of the first one.
const SR_TYPES: [&SrType; 2] = [&sr_ceph::engine::SR_TYPE, &sr_crucible::engine::SR_TYPE];

/// Returns the SR type of that name.
pub fn sr_type(name: &str) -> Result<&'static SrType, Failure> {
    let found = SR_TYPES.into_iter().find(|sr_type| sr_type.name == name);
    found.ok_or_else(|| {
        let unknown = UnknownType {
            name: name.to_owned(),
            known: SR_TYPES.map(|sr_type| sr_type.name).join(" and "),
        };
        Failure::from(unknown)
    })
}

/// Returns the SR type that a device-config is meant for, by its keys. A key of a later type counts more.
pub fn sr_type_of(device_config: &Pairs) -> &'static SrType {
    let mut types = SR_TYPES.into_iter().rev();
    let found = types.find(|sr_type| sr_type.is_meant_by(device_config));
    found.unwrap_or(SR_TYPES[0])
}

/// Creates the engine of an SR. Opens nothing.
pub fn open(
    sr_type_name: &str,
    sr: Uuid,
    host: String,
    device_config: Pairs,
    xapi: PyObject,
) -> PyResult<Box<dyn Engine>> {
    let sr_type = sr_type(sr_type_name)?;
    if sr_type.name == sr_crucible::engine::SR_TYPE.name {
        let supervisor = supervisor(&xapi)?;
        let xapi = Box::new(PythonXapi(xapi));
        let opened = CrucibleEngine::new(sr, host, device_config, xapi, supervisor);
        return boxed(opened);
    }
    let xapi = Box::new(PythonXapi(xapi));
    boxed(CephEngine::new(sr, host, device_config, xapi, keep_reply))
}

fn boxed<E: Engine + 'static>(opened: sr::engine::Result<E>) -> PyResult<Box<dyn Engine>> {
    Ok(Box::new(opened.map_err(Failure::from)?))
}

/// Returns the command that supervises a server. A pre-flight has no XAPI, and does not need it.
fn supervisor(xapi: &PyObject) -> PyResult<Vec<OsString>> {
    Python::with_gil(|py| {
        if xapi.is_none(py) {
            return Ok(Vec::new());
        }
        let command: Vec<String> = xapi.getattr(py, "server_supervisor")?.extract(py)?;
        Ok(command.into_iter().map(OsString::from).collect())
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { .. } => Failure {
                id: error.id(),
                key: of_engine(&error),
                errno: None,
                message: error.to_string(),
            },
            Error::Failed { source, advice } => {
                let mut failure = of_sr_type(source);
                if let Some(advice) = advice {
                    failure.message = format!("{}; {advice}", failure.message);
                }
                failure
            }
        }
    }
}

type Source = Box<dyn StdError + Send + Sync>;

/// The failure of an error of an SR type. The table of each type is in [`crate::failures`].
fn of_sr_type(error: Source) -> Failure {
    of::<sr_ceph::Error>(error)
        .or_else(of::<sr_crucible::Error>)
        .or_else(of::<sr_ceph::device_config::ConfigError>)
        .or_else(of::<sr_crucible::config::ConfigError>)
        .or_else(of::<Refused>)
        .or_else(of::<BadLimit>)
        .unwrap_or_else(|error| Failure {
            id: Some(INTERNAL),
            key: SM_GENERAL,
            errno: None,
            message: error.to_string(),
        })
}

/// The failure of an error of type `E`; the error itself if it is of another type.
fn of<E: StdError + 'static>(error: Source) -> Result<Failure, Source>
where
    Failure: From<E>,
{
    error.downcast::<E>().map(|error| Failure::from(*error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
