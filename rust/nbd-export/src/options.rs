//! What a client asks for before it uses an export: the bytes of one option, as a value.

use crate::protocol::{option, MAX_NAME};

/// An option of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientOption {
    /// Use this export, in the old way: an error ends the connection.
    ExportName(String),
    /// End the connection.
    Abort,
    /// List the exports.
    List,
    /// Encrypt the connection.
    StartTls,
    /// Describe this export.
    Info(String),
    /// Use this export.
    Go(String),
    /// Reply in chunks.
    StructuredReply,
    /// List the contexts of an export that match one of the queries, or all without a query.
    ListContexts(Contexts),
    /// Use the contexts that match one of the queries.
    SetContexts(Contexts),
    /// An option that this server does not have.
    Unknown,
}

/// An export and queries of contexts.
#[derive(Debug, PartialEq, Eq)]
pub struct Contexts {
    /// The export's name.
    pub export: String,
    /// The queries.
    pub queries: Vec<String>,
}

/// Returns the option with this number and these bytes; `None` if they are malformed.
#[must_use]
pub fn parse(number: u32, data: &[u8]) -> Option<ClientOption> {
    let empty = |of| data.is_empty().then_some(of);
    match number {
        option::EXPORT_NAME => name(data).map(ClientOption::ExportName),
        option::ABORT => Some(ClientOption::Abort),
        option::LIST => empty(ClientOption::List),
        option::STARTTLS => empty(ClientOption::StartTls),
        option::INFO => export_of(data).map(ClientOption::Info),
        option::GO => export_of(data).map(ClientOption::Go),
        option::STRUCTURED_REPLY => empty(ClientOption::StructuredReply),
        option::LIST_META_CONTEXT => contexts(data).map(ClientOption::ListContexts),
        option::SET_META_CONTEXT => contexts(data).map(ClientOption::SetContexts),
        _ => Some(ClientOption::Unknown),
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    if bytes.len() > MAX_NAME {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

/// The name of `INFO` and `GO`. The numbers after it are the parts that the client wants; it gets all.
fn export_of(data: &[u8]) -> Option<String> {
    let mut rest = data;
    let export = name(field(&mut rest)?)?;
    let (count, wanted) = rest.split_first_chunk::<2>()?;
    (wanted.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(export)
}

fn contexts(data: &[u8]) -> Option<Contexts> {
    let mut rest = data;
    let export = name(field(&mut rest)?)?;
    let count = number(&mut rest)?;
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(name(field(&mut rest)?)?); // ends with the data, also if the count is wrong
    }
    rest.is_empty().then_some(Contexts { export, queries })
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

/// A length and that many bytes.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn go(length: u32, name: &[u8], after: &[u8]) -> Option<ClientOption> {
        let data = [&length.to_be_bytes(), name, after].concat();
        parse(option::GO, &data)
    }

    #[test]
    fn a_name_is_read_with_the_parts_that_are_asked_for() {
        let found = go(4, b"vm/0", &[0, 1, 0, 3]);
        assert_eq!(found, Some(ClientOption::Go("vm/0".to_owned())));
    }

    #[test]
    fn a_length_beyond_the_data_is_malformed() {
        assert_eq!(go(u32::MAX, b"vm/0", &[0, 0]), None);
        assert_eq!(go(4, b"vm/0", &[0]), None);
        assert_eq!(go(4, b"vm/0", &[0, 9]), None);
        assert_eq!(go(4, b"vm/0", &[0, 0, 0]), None);
        assert_eq!(go(2, b"\xff\xff", &[0, 0]), None);
    }

    #[test]
    fn queries_are_read_to_the_end_of_the_data() {
        let mut data = [&1_u32.to_be_bytes()[..], b"a", &1_u32.to_be_bytes()].concat();
        data.extend([&5_u32.to_be_bytes()[..], b"base:"].concat());
        let found = parse(option::SET_META_CONTEXT, &data).unwrap();
        let wanted = Contexts {
            export: "a".to_owned(),
            queries: vec!["base:".to_owned()],
        };
        assert_eq!(found, ClientOption::SetContexts(wanted));
        data[5..9].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(option::SET_META_CONTEXT, &data), None);
    }

    #[test]
    fn an_option_without_data_has_none() {
        assert_eq!(parse(option::LIST, b""), Some(ClientOption::List));
        assert_eq!(parse(option::LIST, b"x"), None);
        assert_eq!(parse(99, b"x"), Some(ClientOption::Unknown));
    }
}
