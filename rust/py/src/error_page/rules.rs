//! Rules for the texts of `#[error]`, in all crates.

use std::fs;
use std::path::{Path, PathBuf};

use super::rust;
use super::source::all_errors;

/// Words that make a text hard to read.
const FORBIDDEN: [&str; 14] = [
    "nobody",
    "somebody",
    "whoever",
    "told",
    "behind its back",
    "in vain",
    "mend",
    "certainly",
    "any more",
    "belongs into",
    "anew",
    "perhaps",
    "of no use",
    "what it",
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Returns each `#[error]` text of all crates, with its file and variant.
fn all() -> Vec<(String, super::Variant)> {
    let mut files = Vec::new();
    for library in fs::read_dir(rust()).unwrap() {
        let directory = library.unwrap().path().join("src");
        if directory.is_dir() {
            sources(&directory, &mut files);
        }
    }
    let mut all = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("#[error(") {
            let file = syn::parse_file(&text).unwrap();
            let errors = all_errors(&file).into_iter();
            all.extend(errors.map(|error| (format!("{}: {}", path.display(), error.name), error)));
        }
    }
    assert!(all.len() > 100);
    all
}

#[test]
fn no_text_of_an_error_has_the_standard_librarys_form_of_an_errno() {
    for (place, error) in all() {
        for field in &error.io_fields {
            let text = error.text.as_ref().unwrap();
            // With `describe_io(.source)`, the literal has `{}` there.
            assert!(
                !error.literal.contains(&format!("{{{field}}}")),
                "{place}: write describe_io(.{field}): {text}"
            );
        }
    }
}

#[test]
fn no_text_of_an_error_has_a_word_that_is_hard_to_read() {
    for (place, error) in all() {
        let text = error.text.unwrap().to_lowercase();
        for word in FORBIDDEN {
            assert!(!text.contains(word), "{place}: {word:?} in: {text}");
        }
    }
}
