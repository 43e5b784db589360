//! The handshake: a client lists exports, and chooses one.

use std::io;

use hostos::Deadline;

use crate::channel::{read_until, Talk};
use crate::offer::{Description, Exports, Refused};
use crate::options::{parse, ClientOption, Contexts};
use crate::protocol::{
    handshake, info, reply, ALLOCATION_ID, BASE_ALLOCATION, INIT_MAGIC, MAX_OPTION, MAX_PAYLOAD,
    OPTION_MAGIC, OPTION_REPLY_MAGIC,
};

/// Whether connections are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// The server has no certificate.
    Absent,
    /// The client has to begin with encryption.
    Required,
    /// This connection is encrypted.
    Active,
}

/// How the handshake ended.
pub enum Outcome<S> {
    /// The client uses an export.
    Chosen(Chosen<S>),
    /// The connection is to be encrypted. Then the handshake goes on.
    StartTls,
    /// The client has ended the connection.
    Ended,
}

/// What a client has chosen.
pub struct Chosen<S> {
    /// The export.
    pub session: S,
    /// Whether the client takes replies in chunks.
    pub structured: bool,
    /// Whether the client may ask which blocks are allocated.
    pub allocation: bool,
}

/// Sends the greeting, and returns whether the client leaves out the zeros after an old reply.
///
/// # Errors
/// The client sends something else, or nothing until the deadline.
pub fn greet(client: &mut impl Talk, end: Deadline) -> io::Result<bool> {
    let ours = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    let greeting = [
        &INIT_MAGIC.to_be_bytes()[..],
        &OPTION_MAGIC.to_be_bytes(),
        &ours.to_be_bytes(),
    ];
    send(client, &greeting.concat(), end)?;
    let flags = u32::from_be_bytes(bytes(client, end)?);
    if flags & !u32::from(ours) != 0 {
        return Err(malformed("the client sends flags that NBD does not have"));
    }
    Ok(flags & u32::from(handshake::NO_ZEROES) != 0)
}

/// One client's handshake after the greeting.
pub struct Handshake<'a, E> {
    exports: &'a E,
    encryption: Encryption,
    no_zeroes: bool,
    end: Deadline,
    structured: bool,
    /// The export whose allocation the client may ask for.
    allocation_of: Option<String>,
}

impl<'a, E: Exports> Handshake<'a, E> {
    /// A handshake that is over at the deadline.
    pub fn new(exports: &'a E, encryption: Encryption, no_zeroes: bool, end: Deadline) -> Self {
        Self {
            exports,
            encryption,
            no_zeroes,
            end,
            structured: false,
            allocation_of: None,
        }
    }

    /// Serves the client's options until it has chosen.
    ///
    /// # Errors
    /// The client does not follow the protocol, or is silent until the deadline.
    pub fn run(&mut self, client: &mut impl Talk) -> io::Result<Outcome<E::Session>> {
        loop {
            if u64::from_be_bytes(bytes(client, self.end)?) != OPTION_MAGIC {
                return Err(malformed("the client sends no option of NBD"));
            }
            let number = u32::from_be_bytes(bytes(client, self.end)?);
            let length = u32::from_be_bytes(bytes(client, self.end)?);
            if length > MAX_OPTION {
                self.refuse(client, number, reply::ERR_TOO_BIG, "the option is too long")?;
                return Err(malformed("the client sends an option above 64 KiB"));
            }
            let mut data = vec![0; length as usize];
            read_until(client, &mut data, self.end)?;
            if let Some(outcome) = self.serve(client, number, &data)? {
                return Ok(outcome);
            }
        }
    }

    fn serve(
        &mut self,
        client: &mut impl Talk,
        number: u32,
        data: &[u8],
    ) -> io::Result<Option<Outcome<E::Session>>> {
        let Some(option) = parse(number, data) else {
            if number == crate::protocol::option::EXPORT_NAME {
                return Err(malformed("the client sends a name that is no text"));
            }
            self.refuse(
                client,
                number,
                reply::ERR_INVALID,
                "the option is malformed",
            )?;
            return Ok(None);
        };
        match option {
            ClientOption::Abort => {
                // The client may have closed its end already.
                let _ = self.reply(client, number, reply::ACK, &[]);
                return Ok(Some(Outcome::Ended));
            }
            ClientOption::StartTls => match self.encryption {
                Encryption::Required => {
                    self.reply(client, number, reply::ACK, &[])?;
                    return Ok(Some(Outcome::StartTls));
                }
                Encryption::Absent => {
                    self.refuse(
                        client,
                        number,
                        reply::ERR_POLICY,
                        "this server has no certificate",
                    )?;
                }
                Encryption::Active => {
                    self.refuse(client, number, reply::ERR_INVALID, "TLS is active")?;
                }
            },
            ClientOption::ExportName(_) if self.encryption == Encryption::Required => {
                return Err(malformed("the client does not encrypt"));
            }
            _ if self.encryption == Encryption::Required => {
                self.refuse(client, number, reply::ERR_TLS_REQD, "this server needs TLS")?;
            }
            ClientOption::ExportName(name) => return self.choose_by_name(client, &name).map(Some),
            ClientOption::List => self.list(client, number)?,
            ClientOption::Info(name) => match self.exports.describe(&name) {
                Ok(found) => self.describe(client, number, &name, found)?,
                Err(refused) => self.pass_on(client, number, &refused)?,
            },
            ClientOption::Go(name) => match self.exports.open(&name) {
                Ok((found, session)) => {
                    self.describe(client, number, &name, found)?;
                    return Ok(Some(self.chosen(session, &name)));
                }
                Err(refused) => self.pass_on(client, number, &refused)?,
            },
            ClientOption::StructuredReply => {
                self.structured = true;
                self.reply(client, number, reply::ACK, &[])?;
            }
            ClientOption::ListContexts(of) => self.contexts(client, number, &of, false)?,
            ClientOption::SetContexts(of) => self.contexts(client, number, &of, true)?,
            ClientOption::Unknown => {
                self.refuse(
                    client,
                    number,
                    reply::ERR_UNSUP,
                    "this server does not have the option",
                )?;
            }
        }
        Ok(None)
    }

    fn list(&self, client: &mut impl Talk, number: u32) -> io::Result<()> {
        for name in self.exports.names() {
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
            let entry = [&length.to_be_bytes()[..], name.as_bytes()].concat();
            self.reply(client, number, reply::SERVER, &entry)?;
        }
        self.reply(client, number, reply::ACK, &[])
    }

    fn describe(
        &self,
        client: &mut impl Talk,
        number: u32,
        name: &str,
        found: Description,
    ) -> io::Result<()> {
        let export = [
            &info::EXPORT.to_be_bytes()[..],
            &found.size.to_be_bytes(),
            &found.flags(self.structured).to_be_bytes(),
        ];
        self.reply(client, number, reply::INFO, &export.concat())?;
        let named = [&info::NAME.to_be_bytes()[..], name.as_bytes()];
        self.reply(client, number, reply::INFO, &named.concat())?;
        let sizes = [
            &info::BLOCK_SIZE.to_be_bytes()[..],
            &found.block.to_be_bytes(),
            &found.block.max(4096).to_be_bytes(),
            &MAX_PAYLOAD.to_be_bytes(),
        ];
        self.reply(client, number, reply::INFO, &sizes.concat())?;
        self.reply(client, number, reply::ACK, &[])
    }

    fn choose_by_name(
        &self,
        client: &mut impl Talk,
        name: &str,
    ) -> io::Result<Outcome<E::Session>> {
        // The only reply to an error is the end of the connection.
        let (found, session) = self
            .exports
            .open(name)
            .map_err(|refused| io::Error::other(refused.text))?;
        let mut sent = found.size.to_be_bytes().to_vec();
        sent.extend(found.flags(self.structured).to_be_bytes());
        if !self.no_zeroes {
            sent.resize(sent.len() + 124, 0);
        }
        send(client, &sent, self.end)?;
        Ok(self.chosen(session, name))
    }

    fn chosen(&self, session: E::Session, name: &str) -> Outcome<E::Session> {
        Outcome::Chosen(Chosen {
            session,
            structured: self.structured,
            allocation: self.structured && self.allocation_of.as_deref() == Some(name),
        })
    }

    fn contexts(
        &mut self,
        client: &mut impl Talk,
        number: u32,
        asked: &Contexts,
        set: bool,
    ) -> io::Result<()> {
        if set {
            self.allocation_of = None;
        }
        if !self.structured {
            return self.refuse(
                client,
                number,
                reply::ERR_INVALID,
                "contexts need structured replies",
            );
        }
        if let Err(refused) = self.exports.describe(&asked.export) {
            return self.pass_on(client, number, &refused);
        }
        let is_listed = |query: &String| query == BASE_ALLOCATION || (!set && query == "base:");
        let all = !set && asked.queries.is_empty();
        if all || asked.queries.iter().any(is_listed) {
            let id = if set { ALLOCATION_ID } else { 0 };
            let context = [&id.to_be_bytes()[..], BASE_ALLOCATION.as_bytes()];
            self.reply(client, number, reply::META_CONTEXT, &context.concat())?;
            if set {
                self.allocation_of = Some(asked.export.clone());
            }
        }
        self.reply(client, number, reply::ACK, &[])
    }

    fn pass_on(&self, client: &mut impl Talk, number: u32, refused: &Refused) -> io::Result<()> {
        let kind = if refused.is_unknown {
            reply::ERR_UNKNOWN
        } else {
            reply::ERR_POLICY
        };
        self.refuse(client, number, kind, &refused.text)
    }

    fn refuse(&self, client: &mut impl Talk, number: u32, kind: u32, text: &str) -> io::Result<()> {
        self.reply(client, number, kind, text.as_bytes())
    }

    fn reply(&self, client: &mut impl Talk, number: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let message = [
            &OPTION_REPLY_MAGIC.to_be_bytes()[..],
            &number.to_be_bytes(),
            &kind.to_be_bytes(),
            &length.to_be_bytes(),
            data,
        ];
        send(client, &message.concat(), self.end)
    }
}

fn bytes<const N: usize>(client: &mut impl Talk, end: Deadline) -> io::Result<[u8; N]> {
    let mut read = [0; N];
    read_until(client, &mut read, end)?;
    Ok(read)
}

fn send(client: &mut impl Talk, data: &[u8], end: Deadline) -> io::Result<()> {
    client.until(end)?;
    client.write_all(data)
}

fn malformed(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
