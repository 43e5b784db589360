//! Fault injection: makes a chosen call of a process fail, time out, or be its last one.
//!
//! Each SR type has a decorator for each of its traits, without default methods: a new method of a trait does
//! not compile until the decorator has it. Every call passes [`Faults::pass`], which counts it as a change or
//! as a read. So every call that changes something is a crash point.

mod walk;

use std::cell::{Cell, RefCell};

use nix::libc;

use crate::host::HostError;

pub use self::walk::{at_each_call, before_each_call, seed};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The process is killed before the call.
    KilledBefore,
    /// The process is killed after the call was applied.
    KilledAfter,
    /// The process is killed inside the call. Only the creation of an image has an inside: the image exists,
    /// its image-meta does not. Other calls behave as with [`Mode::KilledBefore`].
    KilledInside,
    /// The call is applied, its reply is lost (ETIMEDOUT), and the process goes on.
    ReplyLost,
    /// The call times out (ETIMEDOUT), and the process goes on. The request arrives later, at
    /// [`Faults::deliver`].
    Late,
    /// The call fails with this errno, and the process goes on.
    Fails(i32),
}

impl Mode {
    /// All modes in which a change can fail.
    pub const ALL: [Mode; 6] = [
        Mode::KilledBefore,
        Mode::KilledAfter,
        Mode::KilledInside,
        Mode::ReplyLost,
        Mode::Late,
        Mode::Fails(libc::EIO),
    ];

    /// Whether it ends the process.
    pub fn kills(self) -> bool {
        matches!(
            self,
            Mode::KilledBefore | Mode::KilledAfter | Mode::KilledInside
        )
    }
}

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Those that change something.
    Changes,
    /// Those that only read.
    Reads,
    /// All.
    All,
}

/// What goes wrong, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Which calls are counted.
    pub calls: Calls,
    /// The call that goes wrong, from 0.
    pub nth: usize,
    /// What happens to it.
    pub mode: Mode,
}

type Hook<'a> = Box<dyn FnOnce() + 'a>;

/// The faults of one process.
#[derive(Default)]
pub struct Faults<'a> {
    plan: Option<Plan>,
    changes: Cell<usize>,
    reads: Cell<usize>,
    killed: Cell<bool>,
    hit: RefCell<Option<&'static str>>,
    late: RefCell<Option<Hook<'a>>>,
    /// What others do before the nth call of any kind.
    interruption: RefCell<Option<(usize, Hook<'a>)>>,
}

/// An error that fault injection can make.
pub trait Failure: Sized {
    /// Makes the error of that call on that object.
    fn failure(call: &'static str, object: &str, errno: i32) -> Self;
}

impl Failure for HostError {
    fn failure(call: &'static str, object: &str, errno: i32) -> Self {
        HostError {
            message: format!("{call} {object}: {}", hostos::errno::describe(errno)),
            errno: Some(errno),
            id: None,
        }
    }
}

/// A call about to be made.
#[derive(Debug)]
pub struct Call<'c> {
    name: &'static str,
    object: &'c str,
    changes: bool,
}

/// A call that changes something.
pub fn change<'c>(name: &'static str, object: &'c str) -> Call<'c> {
    Call {
        name,
        object,
        changes: true,
    }
}

/// A call that only reads.
pub fn read<'c>(name: &'static str, object: &'c str) -> Call<'c> {
    Call {
        name,
        object,
        changes: false,
    }
}

impl<'a> Faults<'a> {
    /// No fault: only counts.
    pub fn none() -> Self {
        Faults::default()
    }

    /// One fault.
    pub fn plan(plan: Plan) -> Self {
        Faults {
            plan: Some(plan),
            ..Faults::default()
        }
    }

    /// No fault, but `by` acts before the nth call of any kind, from 0.
    pub fn interrupted(nth: usize, by: impl FnOnce() + 'a) -> Self {
        Faults {
            interruption: RefCell::new(Some((nth, Box::new(by)))),
            ..Faults::default()
        }
    }

    /// How many calls that change something were made.
    pub fn changes(&self) -> usize {
        self.changes.get()
    }

    /// How many calls were made.
    pub fn calls(&self) -> usize {
        self.changes.get() + self.reads.get()
    }

    /// The call that failed; `None` if the plan's number was not reached.
    pub fn hit(&self) -> Option<&'static str> {
        *self.hit.borrow()
    }

    /// Whether the process was killed.
    pub fn killed(&self) -> bool {
        self.killed.get()
    }

    /// Lets the delayed request arrive. The cluster decides whether it is applied: it refuses a blocklisted
    /// client.
    pub fn deliver(&self) {
        if let Some(request) = self.late.take() {
            request();
        }
    }

    /// The fault-injection point: all calls of all decorators pass it. `apply` makes the call. `inside` does
    /// the part of it before a process is killed inside the call.
    ///
    /// # Errors
    /// That of `apply`, or the fault's.
    pub fn pass<T, E: Failure>(
        &self,
        call: &Call<'_>,
        apply: impl Fn() -> Result<T, E> + 'a,
        inside: impl FnOnce() -> Result<(), E>,
    ) -> Result<T, E> {
        let fail = |errno| Err(E::failure(call.name, call.object, errno));
        if self.killed.get() {
            return fail(libc::EOWNERDEAD);
        }
        self.interrupt();
        let Some(mode) = self.count(call) else {
            return apply();
        };
        *self.hit.borrow_mut() = Some(call.name);
        self.killed.set(mode.kills());
        match mode {
            Mode::KilledBefore => fail(libc::EOWNERDEAD),
            Mode::KilledInside => inside().and(fail(libc::EOWNERDEAD)),
            Mode::KilledAfter => apply().and(fail(libc::EOWNERDEAD)),
            Mode::ReplyLost => apply().and(fail(libc::ETIMEDOUT)),
            Mode::Late => {
                *self.late.borrow_mut() = Some(Box::new(move || {
                    let outcome = apply();
                    log::debug!("arrived late, applied: {}", outcome.is_ok());
                }));
                fail(libc::ETIMEDOUT)
            }
            Mode::Fails(errno) => fail(errno),
        }
    }

    fn interrupt(&self) {
        let due = |(nth, _): &mut (usize, Hook<'a>)| *nth == self.calls();
        let hook = self.interruption.borrow_mut().take_if(due);
        if let Some((_, act)) = hook {
            act();
        }
    }

    /// Counts a call. Returns the mode if it is the chosen one.
    fn count(&self, call: &Call<'_>) -> Option<Mode> {
        let counter = if call.changes {
            &self.changes
        } else {
            &self.reads
        };
        let (all, same_kind) = (self.calls(), counter.get());
        counter.set(same_kind + 1);
        let plan = self.plan.as_ref()?;
        let number = match plan.calls {
            Calls::All => Some(all),
            Calls::Changes => call.changes.then_some(same_kind),
            Calls::Reads => (!call.changes).then_some(same_kind),
        };
        (number == Some(plan.nth)).then_some(plan.mode)
    }
}
