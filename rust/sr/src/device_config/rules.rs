//! Rules for values. Values are passed to command lines, lists and error messages, so each kind may only have
//! characters that are harmless everywhere.

use std::path::{Path, PathBuf};

use super::Problem;

const PATH_LIMIT: usize = 1024;

/// The absolute path of a file on every host of the pool.
///
/// # Errors
/// It is not such a path, or has a character that another program would interpret.
pub fn path(value: &str) -> Result<PathBuf, Problem> {
    characters(
        value,
        PATH_LIMIT,
        |c| c.is_alphanumeric() || "/._-+@".contains(c),
        "letters, digits and / . _ - + @",
    )?;
    let path = Path::new(value);
    let normal = value
        .strip_prefix('/')
        .is_some_and(|rest| !rest.split('/').any(|part| matches!(part, "" | "." | "..")));
    if !normal {
        return Err(Problem::Meaning(
            "give the absolute path of a file, without '.', '..', '//' or a slash at its end"
                .to_owned(),
        ));
    }
    if ["/dev", "/proc", "/sys"]
        .iter()
        .any(|root| path.starts_with(root))
    {
        return Err(Problem::Meaning(
            "the kernel's own trees hold no such file".to_owned(),
        ));
    }
    Ok(path.to_owned())
}

/// Parses `true` or `false`.
///
/// # Errors
/// It is another word.
pub fn boolean(value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::Meaning("it is either true or false".to_owned())),
    }
}

/// Refuses an empty value, a value of more than `limit` bytes, and a value with a character that is not
/// allowed.
///
/// # Errors
/// The first of these rules that the value breaks.
pub fn characters(
    value: &str,
    limit: usize,
    good: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), Problem> {
    if value.is_empty() {
        return Err(Problem::Empty);
    }
    if value.len() > limit {
        return Err(Problem::TooLong { limit });
    }
    match value.chars().find(|&c| !good(c)) {
        Some(bad) => Err(Problem::BadCharacter { bad, allowed }),
        None => Ok(()),
    }
}

/// Refuses a name that looks like an option.
///
/// # Errors
/// It begins with a dash.
pub fn no_leading_dash(value: &str) -> Result<(), Problem> {
    if value.starts_with('-') {
        return Err(Problem::Meaning(
            "a name that begins with '-' reads as an option".to_owned(),
        ));
    }
    Ok(())
}
