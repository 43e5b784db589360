//! Modules of the running kernel.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use hostos::command;

use crate::Error;

/// An absolute path: xapi sets no reliable PATH for its drivers.
const MODPROBE: &str = "/sbin/modprobe";

/// Whether the kernel has a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// It is loaded, or built in.
    Loaded,
    /// It is installed for the running kernel; smblock loads it when it is first needed.
    Loadable,
    /// It is not installed for the running kernel; the reason for this result.
    Missing(String),
}

/// Returns whether the module is loaded: it then has the file `sign` in sysfs.
pub(crate) fn is_loaded(sign: &Path) -> Result<bool, Error> {
    sign.try_exists()
        .map_err(|error| Error::io("look for", sign, error))
}

/// Loads a module with these parameters if it is not loaded.
pub(crate) fn load(
    module: &'static str,
    parameters: &[&str],
    sign: &Path,
    deadline: Duration,
) -> Result<(), Error> {
    if is_loaded(sign)? {
        return Ok(());
    }
    let missing = |reason: String| Error::ModuleMissing { module, reason };
    let arguments = [&[module], parameters].concat();
    let output =
        command::run(Path::new(MODPROBE), &arguments, Vec::new(), deadline).map_err(|error| {
            match error.kind() {
                io::ErrorKind::TimedOut => Error::Timeout {
                    action: "load",
                    object: format!("kernel module {module}"),
                    waited: deadline,
                    advice: "smblock killed modprobe; see `dmesg`".to_owned(),
                },
                _ => missing(format!(
                    "cannot run {MODPROBE}: {}",
                    hostos::errno::describe_io(&error)
                )),
            }
        })?;
    if !output.success {
        return Err(missing(format!("modprobe: {}", output.failure())));
    }
    if !is_loaded(sign)? {
        return Err(missing(format!(
            "modprobe succeeded, but {} does not exist",
            sign.display()
        )));
    }
    Ok(())
}

/// Searches for a module in the list that `modprobe` uses. The caller has checked that it is not built in.
pub(crate) fn installed(module: &str, release: &str) -> Module {
    let path = Path::new("/lib/modules").join(release).join("modules.dep");
    match fs::read_to_string(&path) {
        Ok(list) if list.contains(&format!("/{module}.ko")) => Module::Loadable,
        Ok(_) => Module::Missing(format!("{} does not list {module}", path.display())),
        Err(error) => Module::Missing(format!(
            "cannot read {}: {}",
            path.display(),
            hostos::errno::describe_io(&error)
        )),
    }
}
