//! How a method of [`Sr`] reaches its SR.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use sr_ceph::dom0::{maps_any_of, Dom0};
use sr_ceph::sr::place::Place;
use sr_ceph::vdi::unplug;
use sr_ceph::Repository;
use uuid::Uuid;

use super::Sr;
use crate::error::Failure;
use crate::panic::{attached, detached};
use crate::toolstack::PythonToolstack;
use crate::{connection, convert, failures};

impl Sr {
    /// Does something with the SR on the cluster.
    pub(super) fn run<T: Send>(
        &self,
        py: Python<'_>,
        operation: &str,
        work: impl FnOnce(&Repository<'_>) -> sr_ceph::Result<T> + Send,
    ) -> PyResult<T> {
        let uuid = convert::uuid("SR", &self.uuid)?;
        detached(py, operation, move || self.on_cluster(&uuid, work))
    }

    fn on_cluster<T>(
        &self,
        uuid: &Uuid,
        work: impl FnOnce(&Repository<'_>) -> sr_ceph::Result<T>,
    ) -> Result<T, Failure> {
        let host = self.host()?;
        let place = Place::of(&host, uuid);
        let explain =
            |error: sr_ceph::Error, cluster: &librbd::Cluster| match (&place, cluster.fsid()) {
                (Some(place), Ok(fsid)) => {
                    place.explain(uuid, error, (&fsid, &sr_ceph::ceph::pools(cluster)))
                }
                _ => error,
            };
        let pool = connection::pool(&self.config, explain)?;
        let host = host.connected(pool.connection(), self.config.ms_mode());
        let features = self.config.image_features();
        let repository = Repository::new(pool.as_ref(), &host, *uuid, features);
        let result = work(&repository);
        if repository.needs_worker() {
            self.needs_worker.store(true, Ordering::Relaxed);
        }
        let explained = result.map_err(|error| match error {
            sr_ceph::Error::SrMissing { .. } => explain(error, pool.connection()),
            other => other,
        });
        explained.map_err(|error| failures::with_advice(error, &self.config))
    }

    fn host(&self) -> Result<Dom0<'_>, Failure> {
        let toolstack = Box::new(PythonToolstack(self.toolstack.clone()));
        Dom0::new(&self.host, toolstack)
            .map_err(|source| failures::of_host("looking at this host", source))
    }

    /// Unmaps a VDI, whatever the cluster does, and then gives its claim back if the cluster lets it.
    pub(super) fn unplug_vdi(&self, py: Python<'_>, vdi: &Uuid) -> PyResult<()> {
        let sr = convert::uuid("SR", &self.uuid)?;
        detached(py, "VDI.deactivate", || -> Result<(), Failure> {
            let found = unplug::unmap_vdi(&self.host()?, &sr, vdi)?;
            // The inner error is of this host: the VDI is still mapped. The outer one is of a cluster or
            // a pool that cannot be used.
            match self.on_cluster(&sr, |repository| {
                Ok(repository.release_unplugged(vdi, found))
            }) {
                Ok(deactivated) => Ok(deactivated?),
                Err(failure) => {
                    if !found {
                        unplug::unmap_named(&self.host()?, &sr, vdi)?;
                    }
                    unplug::warn_of_claim(&sr, vdi, &failure.message);
                    Ok(())
                }
            }
        })
    }

    /// Unmaps what is idle of an SR, whatever the cluster does. Refused while a device is open.
    pub(super) fn unplug_sr(&self, py: Python<'_>) -> PyResult<()> {
        let sr = convert::uuid("SR", &self.uuid)?;
        detached(py, "SR.detach", || -> Result<(), Failure> {
            match self.on_cluster(&sr, |repository| Ok(repository.detach_sr())) {
                Ok(detached) => Ok(detached?),
                Err(failure) => {
                    log::warn!(
                        "SR {sr}: {}; its idle devices are unmapped",
                        failure.message
                    );
                    Ok(unplug::unmap_sr(&self.host()?, &sr)?)
                }
            }
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
