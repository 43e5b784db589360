//! Compares the C prototypes in the documentation with the tables.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ffi::rados::Rados;
use crate::ffi::rbd::Rbd;
use crate::ffi::Function;

/// C types, and their types in a table. C only reads through a `const` pointer.
const TYPES: &[(&str, &str)] = &[
    ("bool", "bool"),
    ("int", "c_int"),
    ("int *", "*mut c_int"),
    ("uint8_t", "u8"),
    ("uint32_t", "u32"),
    ("uint64_t", "u64"),
    ("uint64_t *", "*mut u64"),
    ("int64_t", "i64"),
    ("size_t", "usize"),
    ("const size_t", "usize"),
    ("size_t *", "*mut usize"),
    ("const size_t *", "*const usize"),
    ("ssize_t", "ssize_t"),
    ("time_t *", "*mut time_t"),
    ("unsigned char *", "*mut c_uchar"),
    ("void *", "*mut c_void"),
    ("char *", "*mut c_char"),
    ("char **", "*mut *mut c_char"),
    ("const char *", "*const c_char"),
    ("const char *const", "*const c_char"),
    ("const char **", "*mut *const c_char"),
    ("char const* const*", "*const *const c_char"),
    ("librbd_progress_fn_t", "librbd_progress_fn_t"),
    ("rados_object_list_cursor", "rados_object_list_cursor"),
    ("const rados_object_list_cursor", "rados_object_list_cursor"),
    (
        "rados_object_list_cursor *",
        "*mut rados_object_list_cursor",
    ),
    ("rados_object_list_item *", "*mut rados_object_list_item"),
    // An enum without negative values is an unsigned int, which is passed like an int.
    ("rbd_snap_namespace_type_t *", "*mut c_int"),
];

/// Returns each prototype after `Implements:` in the documentation, by function name.
fn documented() -> BTreeMap<String, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            collect(&fs::read_to_string(path).unwrap(), &mut found);
        }
    }
    found
}

fn collect(source: &str, found: &mut BTreeMap<String, String>) {
    let mut paragraph = None;
    for line in source.lines().chain([""]) {
        match (
            line.trim().strip_prefix("///").map(str::trim),
            &mut paragraph,
        ) {
            (Some(text), None) => {
                paragraph = text.strip_prefix("Implements:").map(str::to_owned);
            }
            (Some(text), Some(open)) => {
                open.push(' ');
                open.push_str(text);
            }
            (None, open) => {
                let text = open.take().unwrap_or_default();
                for prototype in text.split('`').skip(1).step_by(2) {
                    let name = prototype.split('(').next().unwrap();
                    let name = name.split([' ', '*']).next_back().unwrap();
                    found.insert(name.to_owned(), prototype.to_owned());
                }
            }
        }
    }
}

fn tables() -> impl Iterator<Item = &'static Function> {
    Rados::FUNCTIONS.iter().chain(Rbd::FUNCTIONS)
}

/// Returns the type of `declaration` without its name, with blanks as in `TYPES`.
fn c_type(declaration: &str) -> String {
    let name = declaration
        .rfind(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap();
    let declared = declaration[..=name].trim();
    match declared.find('*') {
        Some(star) if !declared.contains("* const") && !declared.contains("*const") => {
            format!(
                "{} {}",
                declared[..star].trim(),
                declared[star..].replace(' ', "")
            )
        }
        _ => declared.replace(" * const", " *const"),
    }
}

/// Returns the Rust type of a C type: one of `TYPES`, or a handle or structure of the same name.
fn rust_type(c_type: &str) -> String {
    if let Some((_, rust)) = TYPES.iter().find(|(c, _)| *c == c_type) {
        return (*rust).to_owned();
    }
    let handle = c_type.split(' ').next().unwrap();
    assert!(
        handle.ends_with("_t") && handle.starts_with('r'),
        "unknown C type {c_type:?}"
    );
    match c_type[handle.len()..].trim() {
        "" => handle.to_owned(),
        "*" => format!("*mut {handle}"),
        other => panic!("unknown C type {c_type:?}: {other}"),
    }
}

#[test]
fn the_tables_and_the_documentation_have_the_same_functions() {
    let documented: Vec<_> = documented().into_keys().collect();
    let mut loaded: Vec<_> = tables().map(|function| function.name).collect();
    // Called before the table exists, so that the error of a missing function has the version.
    loaded.extend(["rados_version", "rbd_version"]);
    loaded.sort_unstable();
    assert_eq!(documented, loaded);
}

#[test]
fn each_function_has_the_types_of_its_prototype() {
    let documented = documented();
    for function in tables() {
        let prototype = &documented[function.name];
        let (head, rest) = prototype.split_once('(').unwrap();
        let arguments = rest.strip_suffix(')').unwrap();
        let expected: Vec<_> = match arguments {
            "void" => Vec::new(),
            list => list
                .split(',')
                .map(|one| rust_type(&c_type(one.trim())))
                .collect(),
        };
        assert_eq!(function.arguments, expected, "arguments of {prototype}");
        let result = match c_type(head).as_str() {
            "void" => String::new(),
            other => rust_type(other),
        };
        assert_eq!(function.result, result, "result of {prototype}");
    }
}

#[test]
fn each_function_is_in_one_table_only() {
    let mut names: Vec<_> = tables().map(|function| function.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
