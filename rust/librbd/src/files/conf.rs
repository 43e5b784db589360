//! Checks a configuration file.

use std::path::Path;

use super::fault::{explain, line_number, Fault, Kind};
use super::verdict::{left_out, Dialect, Verdict};
use super::{grammar, lines};

const MON_HOST: &str = "mon_host";

/// Checks the text of `path` for the user `entity`.
pub(crate) fn judge(text: &[u8], path: &Path, entity: &str, dialect: Dialect) -> Verdict {
    let mut verdict = Verdict::default();
    let contents = match dialect {
        Dialect::Grammar => match grammar::parse(text) {
            Ok(contents) => contents,
            Err(stop) => {
                verdict.aborts = matches!(stop, grammar::Stop::Abort(_));
                verdict.refusal = Some(explain(text, stop, path, Kind::Conf));
                return verdict;
            }
        },
        Dialect::Lines => {
            let (contents, ignored) = lines::parse(text);
            verdict.warnings = left_out(text, &ignored, path);
            contents
        }
    };
    let applies = |section: &str| ["global", "client", entity].contains(&section);
    let all_of = |name: &str| -> Vec<_> {
        let settings = contents.settings.iter();
        settings.filter(|setting| setting.key == name).collect()
    };
    let monitors = all_of(MON_HOST);
    let other = all_of("mon_addr");
    verdict.has_other_monitors = other.iter().any(|found| found.section.starts_with("mon."));
    if let Some(setting) = monitors.iter().find(|setting| applies(&setting.section)) {
        let line = line_number(text, setting.offset);
        if let Some(rest) = behind_semicolon(text, setting.offset) {
            verdict.warnings.push(Fault {
                line: Some(line),
                reason: format!("a ; begins a comment, so mon_host does not have {rest}"),
                fix: format!("separate the addresses by commas in {}", path.display()),
            });
        }
        return verdict;
    }
    // No valid mon_host. The administrator probably meant one of these.
    let misspelled = contents.settings.iter().find(|setting| {
        let name = setting.key.to_ascii_lowercase().replace('-', "_");
        name == MON_HOST && setting.key != MON_HOST && applies(&setting.section)
    });
    let elsewhere = monitors.first();
    if let Some(setting) = misspelled {
        verdict.warnings.push(Fault {
            line: Some(line_number(text, setting.offset)),
            reason: format!(
                "librados has no option {}: it ignores the line",
                setting.key
            ),
            fix: format!("spell the option mon_host in {}", path.display()),
        });
    } else if let Some(setting) = elsewhere {
        verdict.warnings.push(Fault {
            line: Some(line_number(text, setting.offset)),
            reason: format!(
                "mon_host is in section [{}], which {entity} does not use",
                setting.section
            ),
            fix: format!("move the line to [global] in {}", path.display()),
        });
    }
    verdict
}

/// Returns addresses that are part of a comment.
fn behind_semicolon(text: &[u8], offset: usize) -> Option<String> {
    let line = text[offset..].split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (value, comment) = line.split_once(';')?;
    let word = comment.split_whitespace().next()?;
    let address = |c: char| c.is_ascii_alphanumeric() || "[]:.,/-_".contains(c);
    let looks_like_one = word.chars().all(address) && word.contains(['.', ':']);
    (!value.contains('#') && looks_like_one).then(|| word.to_owned())
}
