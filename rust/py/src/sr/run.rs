//! How a method of [`Sr`] reaches the store.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use store::dom0::{maps_any_of, Dom0};
use store::Repository;

use super::Sr;
use crate::error::Failure;
use crate::panic::{attached, detached};
use crate::toolstack::PythonToolstack;
use crate::{connection, convert, failures};

impl Sr {
    pub(super) fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        work: impl FnOnce(&Repository<'_>) -> store::Result<T> + Send,
    ) -> PyResult<T> {
        let uuid = convert::uuid("SR", &self.uuid)?;
        let toolstack = Box::new(PythonToolstack(self.toolstack.clone()));
        detached(py, operation, move || -> Result<T, Failure> {
            let pool = connection::pool(&self.config)?;
            let host = Dom0::new(
                &self.host,
                pool.connection(),
                self.config.ms_mode(),
                toolstack,
            )
            .map_err(|source| failures::of_host("looking at this host", source))?;
            let features = self.config.image_features();
            let repository = Repository::new(pool.as_ref(), &host, uuid, features);
            let result = work(&repository);
            if repository.needs_worker() {
                self.needs_worker.store(true, Ordering::Relaxed);
            }
            Ok(result?)
        })
    }

    /// Whether a disk of the SR is mapped on this host.
    pub(super) fn maps_any(&self, py: Python<'_>, operation: &str) -> PyResult<bool> {
        let sr = convert::uuid("SR", &self.uuid)?;
        detached(py, operation, || {
            maps_any_of(&sr).map_err(|e| failures::of_host("listing this host's devices", e))
        })
    }

    pub(super) fn require_datapath(
        &self,
        operation: &str,
        sm_datapaths: &[String],
    ) -> PyResult<()> {
        attached(operation, || {
            let checked = self.config.datapath().require(sm_datapaths);
            Ok(checked.map_err(Failure::from)?)
        })
    }
}
