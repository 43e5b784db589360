//! Sends commands to the monitors and to ceph-mgr.

use std::ffi::{c_char, c_int};
use std::ptr;
use std::time::Duration;

use serde_json::Value;

use crate::buffer::c_string;
use crate::cluster::Cluster;
use crate::deadline::{no_thread, within};
use crate::error::{check, Error, Result};
use crate::ffi::rados::{rados_t, Rados};

/// `rados_mon_command` or `rados_mgr_command`.
type Send = unsafe fn(
    &Rados,
    rados_t,
    *mut *const c_char,
    usize,
    *const c_char,
    usize,
    *mut *mut c_char,
    *mut usize,
    *mut *mut c_char,
    *mut usize,
) -> c_int;

impl Cluster {
    /// Sends `command`, an object with at least `prefix`, to the monitors, and returns their reply. Add
    /// `"format": "json"` for a reply that programs can read.
    ///
    /// # Errors
    /// The command's errno, with the monitors' status text as the detail.
    ///
    /// Implements: `int rados_mon_command(rados_t cluster, const char **cmd, size_t cmdlen, const
    /// char *inbuf, size_t inbuflen, char **outbuf, size_t *outbuflen, char **outs,
    /// size_t *outslen)`; the reply is freed with `void rados_buffer_free(char *buf)`.
    pub fn mon_command(&self, command: &Value) -> Result<Vec<u8>> {
        self.send_in_time("rados_mon_command", Rados::rados_mon_command, command)
            .map(|(reply, _)| reply)
    }

    /// As [`Cluster::mon_command`], with the deadline of librados only.
    pub(crate) fn mon_command_now(&self, command: &Value) -> Result<Vec<u8>> {
        self.command("rados_mon_command", Rados::rados_mon_command, command)
            .map(|(reply, _)| reply)
    }

    /// As [`Cluster::mon_command`]; returns the monitors' status text instead.
    pub(crate) fn mon_status(&self, command: &Value) -> Result<String> {
        self.send_in_time("rados_mon_command", Rados::rados_mon_command, command)
            .map(|(_, status)| status)
    }

    /// Sends `command` to the active ceph-mgr. The error is EINVAL if ceph-mgr started a few seconds ago and
    /// has not loaded the module yet.
    ///
    /// Implements: `int rados_mgr_command(rados_t cluster, const char **cmd, size_t cmdlen, const
    /// char *inbuf, size_t inbuflen, char **outbuf, size_t *outbuflen, char **outs,
    /// size_t *outslen)`.
    pub fn mgr_command(&self, command: &Value) -> Result<Vec<u8>> {
        self.send_in_time("rados_mgr_command", Rados::rados_mgr_command, command)
            .map(|(reply, _)| reply)
    }

    /// As [`Cluster::mgr_command`], with a deadline of `patience`. Returns `None` if there is no reply until
    /// then. The request continues, and keeps this connection open.
    pub fn mgr_command_within(
        &self,
        command: &Value,
        patience: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let (cluster, command) = (self.clone(), command.clone());
        let replied = within(patience, move || cluster.mgr_command_now(&command));
        replied
            .map_err(|error| no_thread("rados_mgr_command", "ceph-mgr", &error))?
            .transpose()
    }

    /// As [`Cluster::mgr_command`], with the deadline of librados only.
    fn mgr_command_now(&self, command: &Value) -> Result<Vec<u8>> {
        self.command("rados_mgr_command", Rados::rados_mgr_command, command)
            .map(|(reply, _)| reply)
    }

    fn send_in_time(
        &self,
        call: &'static str,
        send: Send,
        command: &Value,
    ) -> Result<(Vec<u8>, String)> {
        let object = format!("`{}`", command["prefix"].as_str().unwrap_or_default());
        let (cluster, command) = (self.clone(), command.clone());
        self.patience()
            .read_in_time(call, &object, move || cluster.command(call, send, &command))
    }

    /// Returns the reply, and the status text.
    fn command(
        &self,
        call: &'static str,
        send: Send,
        command: &Value,
    ) -> Result<(Vec<u8>, String)> {
        let prefix = command
            .get("prefix")
            .and_then(Value::as_str)
            .ok_or(Error::BadArgument {
                argument: "command",
                reason: "it has no prefix".to_owned(),
            })?;
        let text = c_string("command", &command.to_string())?;
        let mut commands = [text.as_ptr()];
        let mut reply = Buffer::new(self);
        let mut status = Buffer::new(self);
        // SAFETY: the connection is up; `commands` has one C string; there is no input (length 0); librados
        // sets the two buffers, whose drop frees its memory.
        let result = unsafe {
            send(
                &self.library().rados,
                self.raw(),
                commands.as_mut_ptr(),
                commands.len(),
                c"".as_ptr(),
                0,
                &mut reply.data,
                &mut reply.length,
                &mut status.data,
                &mut status.length,
            )
        };
        // Without a ceph-mgr, rados_mgr_command of 16.2 returns +ETIMEDOUT. No command has a positive result.
        let text = String::from_utf8_lossy(status.bytes()).trim().to_owned();
        check(call, || format!("`{prefix}`"), -result.abs())
            .map_err(|error| error.with_detail(|| (!text.is_empty()).then(|| text.clone())))?;
        // A pool name that is not UTF-8 makes the whole reply invalid JSON.
        let reply = String::from_utf8_lossy(reply.bytes()).into_owned();
        Ok((reply.into_bytes(), text))
    }

    /// Sends a command to the monitors, and returns the reply as JSON.
    pub(crate) fn mon_query(&self, command: &Value) -> Result<Value> {
        let reply = self.mon_command(command)?;
        serde_json::from_slice(&reply).map_err(|error| Error::Malformed {
            what: format!("`{}`", command["prefix"].as_str().unwrap_or_default()),
            reason: error.to_string(),
        })
    }
}

/// Memory of librados, freed on drop.
struct Buffer<'cluster> {
    cluster: &'cluster Cluster,
    data: *mut c_char,
    length: usize,
}

impl<'cluster> Buffer<'cluster> {
    fn new(cluster: &'cluster Cluster) -> Self {
        Self {
            cluster,
            data: ptr::null_mut(),
            length: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: librados set both: `length` bytes at `data`, valid until the drop.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.length) }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: null, or memory from librados without other references.
        unsafe { self.cluster.library().rados.rados_buffer_free(self.data) };
    }
}
