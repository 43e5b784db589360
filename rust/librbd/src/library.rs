//! Opens librados and librbd, each when it is first needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::ffi::rados::Rados;
use crate::ffi::rbd::Rbd;
use crate::ffi::SharedObject;

const RADOS: &str = "librados.so.2";
const RADOS_PACKAGE: &str = "librados2";
const RBD: &str = "librbd.so.1";

/// librados, and librbd after the first access to an image, for the rest of the process.
///
/// They are opened at run time and not linked, so that a program with this crate starts on a host without
/// Ceph, and can report the missing library.
pub struct Library {
    pub(crate) rados: Rados,
    rados_version: Version,
    rados_path: PathBuf,
    rbd: OnceLock<LoadedRbd>,
}

/// librbd.
struct LoadedRbd {
    table: Rbd,
    version: Version,
    path: PathBuf,
}

/// Major, minor, extra.
type Version = (i32, i32, i32);

/// The libraries in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// librados: major, minor, extra. This is the version of its interface, not of Ceph.
    pub rados: (i32, i32, i32),
    /// librbd: major, minor, extra.
    pub rbd: (i32, i32, i32),
    /// The file of librados.
    pub rados_path: PathBuf,
    /// The file of librbd.
    pub rbd_path: PathBuf,
}

impl Library {
    /// Returns the process's librados. The first call opens it (10 to 50 ms). After a failure, the next call
    /// tries again.
    pub fn load() -> Result<&'static Self> {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        ignore_environment();
        let opened = Self::open(RADOS)?;
        Ok(LIBRARY.get_or_init(|| opened))
    }

    /// Returns the versions and files of the libraries. Opens librbd, too.
    ///
    /// Implements: `void rados_version(int *major, int *minor, int *extra)` and `void
    /// rbd_version(int *major, int *minor, int *extra)`.
    pub fn versions(&self) -> Result<Versions> {
        let rbd = self.loaded_rbd()?;
        Ok(Versions {
            rados: self.rados_version,
            rbd: rbd.version,
            rados_path: self.rados_path.clone(),
            rbd_path: rbd.path.clone(),
        })
    }

    /// Returns librbd. The first call opens it (2 to 15 ms). Calls about usage and the catalogue do not need
    /// it.
    pub(crate) fn rbd(&self) -> Result<&Rbd> {
        Ok(&self.loaded_rbd()?.table)
    }

    /// Returns the error for a function of librados that the first release of Nautilus lacks.
    pub(crate) fn too_old_for(&self, symbol: &str) -> Error {
        Error::SymbolMissing {
            symbol: symbol.to_owned(),
            library: RADOS.to_owned(),
            version: dotted(self.rados_version),
            package: RADOS_PACKAGE,
        }
    }

    fn open(file: &str) -> Result<Self> {
        let object = SharedObject::open(file, RADOS_PACKAGE)?;
        let version = object.version("rados_version")?;
        Ok(Self {
            rados: Rados::resolve(&object, &dotted(version))?,
            rados_version: version,
            rados_path: object.path_of("rados_version"),
            rbd: OnceLock::new(),
        })
    }

    fn loaded_rbd(&self) -> Result<&LoadedRbd> {
        if let Some(rbd) = self.rbd.get() {
            return Ok(rbd);
        }
        let opened = LoadedRbd::open(RBD)?;
        Ok(self.rbd.get_or_init(|| opened))
    }
}

/// The environment variables with options for librados. They would override the configuration file, but only
/// the caller and the files decide about a connection.
const VARIABLES: [&str; 4] = ["CEPH_ARGS", "CEPH_CONF", "CEPH_KEYRING", "CEPH_LIB"];

/// Removes the variables, before librados creates its first thread.
fn ignore_environment() {
    for name in VARIABLES {
        if std::env::var_os(name).is_some() {
            log::info!("smblock ignores the environment variable {name}");
            std::env::remove_var(name);
        }
    }
}

impl LoadedRbd {
    fn open(file: &str) -> Result<Self> {
        let object = SharedObject::open(file, "librbd1")?;
        let version = object.version("rbd_version")?;
        Ok(Self {
            table: Rbd::resolve(&object, &dotted(version))?,
            version,
            path: object.path_of("rbd_version"),
        })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("rados", &self.rados_version)
            .finish_non_exhaustive()
    }
}

fn dotted((major, minor, extra): Version) -> String {
    format!("{major}.{minor}.{extra}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_missing_library_names_the_file_and_the_package() {
        let error = Library::open("librados-not-there.so.2").unwrap_err();
        assert!(matches!(error, Error::LibraryMissing { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("librados-not-there.so.2"), "{text}");
        assert!(text.contains("install the package librados2"), "{text}");
        assert!(text.contains("ceph-common"), "{text}");
    }

    #[test]
    fn the_error_of_an_unsuitable_library_names_the_missing_function() {
        let error = Library::open("libc.so.6").unwrap_err();
        assert!(matches!(error, Error::SymbolMissing { .. }), "{error:?}");
        assert!(error.to_string().contains("rados_version"), "{error}");
    }
}
