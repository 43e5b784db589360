//! Modules of the running kernel.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use hostos::command;

use crate::Error;

/// By its path: xapi gives its drivers no PATH to rely on.
const MODPROBE: &str = "/sbin/modprobe";

/// Whether the kernel has a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// It is loaded, or built in.
    Loaded,
    /// It is installed for the running kernel and will be loaded when it is first needed.
    Loadable,
    /// It is not installed for the running kernel; why that is believed.
    Missing(String),
}

/// Whether the module is there: it shows as `sign` in sysfs.
pub(crate) fn is_loaded(sign: &Path) -> Result<bool, Error> {
    sign.try_exists()
        .map_err(|error| Error::io("look for", sign, error))
}

/// Loads a module with these parameters unless it is there, which it shows as `sign` in sysfs.
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
                    advice: "modprobe was stopped; see `dmesg`".to_owned(),
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
            "modprobe succeeded, but {} did not appear",
            sign.display()
        )));
    }
    Ok(())
}

/// Looks a module up where `modprobe` would. One that is built in counts as loaded already.
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
