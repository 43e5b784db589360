//! librados and librbd, opened when they are first needed.

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

/// librados and librbd, for the rest of the process.
///
/// They are opened at run time and not linked, so that a program that uses this crate starts, and
/// can say what is missing, on a machine without Ceph.
pub struct Library {
    pub(crate) rados: Rados,
    pub(crate) rbd: Rbd,
    versions: Versions,
}

/// Which libraries are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// librados: major, minor, extra. (This is the interface's version, not Ceph's.)
    pub rados: (i32, i32, i32),
    /// librbd: major, minor, extra.
    pub rbd: (i32, i32, i32),
    /// The file librados was loaded from.
    pub rados_path: PathBuf,
    /// The file librbd was loaded from.
    pub rbd_path: PathBuf,
}

impl Library {
    /// The process's librados and librbd, opened by the first call (20 to 50 ms). A failure is not
    /// kept: the next call tries again.
    pub fn load() -> Result<&'static Self> {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        let opened = Self::open(RADOS, RBD)?;
        Ok(LIBRARY.get_or_init(|| opened))
    }

    /// The versions and files of the libraries.
    ///
    /// Implements: `void rados_version(int *major, int *minor, int *extra)` and `void
    /// rbd_version(int *major, int *minor, int *extra)`.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The error for a librados function that is newer than Nautilus' first release.
    pub(crate) fn too_old_for(&self, symbol: &str) -> Error {
        Error::SymbolMissing {
            symbol: symbol.to_owned(),
            library: RADOS.to_owned(),
            version: dotted(self.versions.rados),
            package: RADOS_PACKAGE,
        }
    }

    fn open(rados_file: &str, rbd_file: &str) -> Result<Self> {
        let rados_object = SharedObject::open(rados_file, RADOS_PACKAGE)?;
        let rados = rados_object.version("rados_version")?;
        let rados_table = Rados::resolve(&rados_object, &dotted(rados))?;
        let rbd_object = SharedObject::open(rbd_file, "librbd1")?;
        let rbd = rbd_object.version("rbd_version")?;
        Ok(Self {
            rados: rados_table,
            rbd: Rbd::resolve(&rbd_object, &dotted(rbd))?,
            versions: Versions {
                rados,
                rbd,
                rados_path: rados_object.path_of("rados_version"),
                rbd_path: rbd_object.path_of("rbd_version"),
            },
        })
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.versions).finish()
    }
}

fn dotted((major, minor, extra): (i32, i32, i32)) -> String {
    format!("{major}.{minor}.{extra}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_one_error_that_names_the_file_and_the_package() {
        let error = Library::open("librados-not-there.so.2", RBD).unwrap_err();
        assert!(matches!(error, Error::LibraryMissing { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("librados-not-there.so.2"), "{text}");
        assert!(text.contains("install the package librados2"), "{text}");
        assert!(text.contains("ceph-common"), "{text}");
    }

    #[test]
    fn a_library_without_the_functions_is_an_error_that_names_the_first_one() {
        let error = Library::open("libc.so.6", RBD).unwrap_err();
        assert!(matches!(error, Error::SymbolMissing { .. }), "{error:?}");
        assert!(error.to_string().contains("rados_version"), "{error}");
    }
}
