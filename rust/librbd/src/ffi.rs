//! The C functions that this crate calls: one table for each library, resolved when the library is opened.
//!
//! A table is declared as a list of C signatures. From it, the macro generates the struct of function
//! pointers, the loader, one method for each function (which counts the call) and the list of signatures,
//! which the tests compare with the prototypes in the documentation.
//!
//! The methods are plain C calls. The safe wrappers in the other modules state at each call why it is sound.

pub(crate) mod rados;
pub(crate) mod rbd;

use std::ffi::CStr;
use std::path::PathBuf;

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use nix::libc;

use crate::error::{Error, Result};

/// The signature of a C function, for the tests and the counters.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// Rust types of the arguments, as written in the table.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "only the prototype tests read it")
    )]
    pub(crate) arguments: &'static [&'static str],
    /// Rust type of the result, as written in the table; empty for `void`.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "only the prototype tests read it")
    )]
    pub(crate) result: &'static str,
}

/// The result type of a C prototype; `()` for `void`.
macro_rules! result_type {
    () => {
        ()
    };
    ($result:ty) => {
        $result
    };
}
pub(crate) use result_type;

/// Declares a library's table of functions. Those in `optional` are newer than Nautilus: their methods return
/// `None` if the library lacks them.
macro_rules! function_table {
    (
        $(#[$doc:meta])*
        $table:ident
        required {
            $( fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?; )*
        }
        optional {
            $( fn $opt_name:ident($($opt_arg:ident: $opt_type:ty),* $(,)?) $(-> $opt_result:ty)?; )*
        }
    ) => {
        $(#[$doc])*
        pub(crate) struct $table {
            $( $name: unsafe extern "C" fn($($type),*) $(-> $result)?, )*
            $( $opt_name: Option<unsafe extern "C" fn($($opt_type),*) $(-> $opt_result)?>, )*
        }

        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        enum Index { $( $name, )* $( $opt_name, )* }

        static COUNTS: [std::sync::atomic::AtomicU64; $table::FUNCTIONS.len()] =
            [const { std::sync::atomic::AtomicU64::new(0) }; $table::FUNCTIONS.len()];

        impl $table {
            /// The functions of the table, in its order.
            pub(crate) const FUNCTIONS: &'static [$crate::ffi::Function] = &[
                $( $crate::ffi::Function {
                    name: stringify!($name),
                    arguments: &[$(stringify!($type)),*],
                    result: concat!($(stringify!($result))?),
                }, )*
                $( $crate::ffi::Function {
                    name: stringify!($opt_name),
                    arguments: &[$(stringify!($opt_type)),*],
                    result: concat!($(stringify!($opt_result))?),
                }, )*
            ];

            /// Resolves every function of the table in `object`.
            pub(crate) fn resolve(
                object: &$crate::ffi::SharedObject,
                version: &str,
            ) -> $crate::error::Result<Self> {
                Ok(Self {
                    $( $name: {
                        // SAFETY: the type is that of the C prototype, which a test compares with
                        // this table; the library is never closed, so the pointer stays valid.
                        let symbol = unsafe { object.symbol(stringify!($name)) };
                        symbol.ok_or_else(|| object.symbol_missing(stringify!($name), version))?
                    }, )*
                    $( $opt_name: {
                        // SAFETY: as above.
                        unsafe { object.symbol(stringify!($opt_name)) }
                    }, )*
                })
            }

            /// The number of calls of each function in this process.
            pub(crate) fn counts() -> impl Iterator<Item = (&'static str, u64)> {
                Self::FUNCTIONS.iter().zip(&COUNTS).map(|(function, count)| {
                    (function.name, count.load(std::sync::atomic::Ordering::Relaxed))
                })
            }

            fn count(index: Index) {
                COUNTS[index as usize].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }

        #[allow(clippy::too_many_arguments)]
        impl $table {
            $( pub(crate) unsafe fn $name(&self, $($arg: $type),*) $(-> $result)? {
                Self::count(Index::$name);
                (self.$name)($($arg),*)
            } )*
            $( pub(crate) unsafe fn $opt_name(
                &self,
                $($opt_arg: $opt_type),*
            ) -> Option<$crate::ffi::result_type!($($opt_result)?)> {
                let function = self.$opt_name?;
                Self::count(Index::$opt_name);
                Some(function($($opt_arg),*))
            } )*
        }
    };
}
pub(crate) use function_table;

/// A shared library, opened for the rest of the process.
pub(crate) struct SharedObject {
    handle: std::mem::ManuallyDrop<Handle>,
    file: String,
    package: &'static str,
}

impl SharedObject {
    /// Opens `file` (a soname, or a path). It is never closed: the threads and destructors of Ceph's
    /// libraries must not outlive their code.
    pub(crate) fn open(file: &str, package: &'static str) -> Result<Self> {
        // SAFETY: loading runs the library's initialisers. Those of Ceph can run in any process, on any
        // thread; RTLD_LOCAL separates its symbols from those of other libraries.
        match unsafe { Handle::open(Some(file), RTLD_NOW | RTLD_LOCAL) } {
            Ok(handle) => Ok(Self {
                handle: std::mem::ManuallyDrop::new(handle),
                file: file.to_owned(),
                package,
            }),
            Err(reason) => Err(Error::LibraryMissing {
                library: file.to_owned(),
                package,
                reason: reason.to_string(),
            }),
        }
    }

    /// Returns the function called `name`; `None` if the library lacks it.
    ///
    /// # Safety
    /// `F` must be the function pointer type of that function.
    pub(crate) unsafe fn symbol<F: Copy>(&self, name: &str) -> Option<F> {
        self.handle
            .get::<F>(name.as_bytes())
            .ok()
            .map(|symbol| *symbol)
    }

    /// Returns the library's version, from the library's version function.
    pub(crate) fn version(&self, function: &str) -> Result<(i32, i32, i32)> {
        type Version = unsafe extern "C" fn(*mut i32, *mut i32, *mut i32);
        // SAFETY: `rados_version` and `rbd_version` have this type.
        let version: Version = unsafe { self.symbol(function) }
            .ok_or_else(|| self.symbol_missing(function, "unknown"))?;
        let (mut major, mut minor, mut extra) = (0, 0, 0);
        // SAFETY: three valid pointers to int, written before the call returns.
        unsafe { version(&mut major, &mut minor, &mut extra) };
        Ok((major, minor, extra))
    }

    /// Returns the file of the function called `name`, from the dynamic linker.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        // SAFETY: only the address is used; no function is called through it.
        let Some(address) = (unsafe { self.symbol::<*const libc::c_void>(name) }) else {
            return PathBuf::from(&self.file);
        };
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: `info` is valid for writing; all-zero is a valid `Dl_info`; its names belong to the linker
        // and live as long as the library, which stays open.
        let path = unsafe {
            libc::dladdr(address, info.as_mut_ptr());
            let name = info.assume_init().dli_fname;
            (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
        };
        PathBuf::from(path.unwrap_or_else(|| self.file.clone()))
    }

    /// Returns the error for a required function that the library lacks.
    pub(crate) fn symbol_missing(&self, symbol: &str, version: &str) -> Error {
        Error::SymbolMissing {
            symbol: symbol.to_owned(),
            library: self.file.clone(),
            version: version.to_owned(),
            package: self.package,
        }
    }
}
