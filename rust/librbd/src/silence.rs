//! Adds to a call without a reply whether the monitors reply.

use std::time::Duration;

use serde_json::json;

use crate::deadline::within;
use crate::error::{Error, Result};
use crate::pool::Pool;

/// The deadline of the search for the cause of a failed call.
pub(crate) const EXPLAIN: Duration = Duration::from_millis(1500);

impl Pool {
    /// Adds to a timeout whether the monitors reply.
    pub(crate) fn explain_silence(&self, error: Error) -> Error {
        if !error.is_timed_out() {
            return error;
        }
        let cluster = self.cluster().clone();
        let asked = within(EXPLAIN, move || {
            cluster.mon_command_now(&json!({"prefix": "osd stat", "format": "json"}))
        });
        let pool = self.name();
        match asked {
            Ok(Some(reply)) if !matches!(&reply, Err(e) if e.is_timed_out()) => {
                error.adding(&format!(
                "the monitors reply, the OSDs of pool {pool} do not: run 'ceph health detail' on a \
                 node of the cluster"
            ))
            }
            _ => error.adding(
                "neither the monitors nor the OSDs reply: check the network between this host and \
                 the cluster, then run 'ceph health detail' on a node of the cluster",
            ),
        }
    }

    /// Makes a call that lists entries of `object` in this pool, by the deadline.
    pub(crate) fn list_in_time<T: Send + 'static>(
        &self,
        call: &'static str,
        object: &str,
        list: impl FnOnce(&Pool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (pool, path) = (self.clone(), self.path(object));
        let listed = self
            .cluster()
            .patience()
            .read_in_time(call, &path, move || list(&pool));
        listed.map_err(|error| self.explain_silence(error))
    }
}
