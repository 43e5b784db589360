//! The class `Sr`, and how its methods run.

use pyo3::prelude::*;
use sr::engine::{Engine, SrType};
use uuid::Uuid;

use crate::convert;
use crate::panic::detached;

/// An SR of any type, as one SM command on one host sees it. Making one checks the device-config; the
/// first call that needs the storage opens it.
#[pyclass(module = "smblock._core")]
#[pyo3(text_signature = "(sr_type, sr_uuid, host_uuid, device_config, xapi)")]
pub struct Sr {
    /// SM's text. Not a UUID if there is no SR yet.
    pub(super) uuid: String,
    pub(super) engine: Box<dyn Engine>,
}

impl Sr {
    /// Runs an operation on the SR, which must have a UUID.
    pub(crate) fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        work: impl FnOnce(&dyn Engine) -> sr::engine::Result<T> + Send,
    ) -> PyResult<T> {
        convert::uuid("SR", &self.uuid)?;
        detached(py, operation, || work(self.engine.as_ref()))
    }

    /// Runs an operation on a VDI.
    pub(crate) fn run_on<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        vdi_uuid: &str,
        work: impl FnOnce(&dyn Engine, &Uuid) -> sr::engine::Result<T> + Send,
    ) -> PyResult<T> {
        let vdi = convert::uuid("VDI", vdi_uuid)?;
        self.run(py, operation, |sr| work(sr, &vdi))
    }

    /// The SR's UUID; the nil UUID if there is no SR yet.
    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid.parse().unwrap_or_default()
    }

    pub(super) fn sr_type(&self) -> &'static SrType {
        self.engine.sr_type()
    }
}
