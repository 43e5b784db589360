//! Runs a command to one of its fates, and learns from the results.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;

use sr::xapi::XapiVdi;
use sr_ceph::faults::{Calls, Faults, Mode, Plan};

use crate::process::{run, unless_overtaken, Database, Outcome};
use crate::{Bench, Command, Fate, Model};

/// A host, and its command.
type Job = (usize, Command);

impl<B: Bench> Model<B> {
    pub(crate) fn command(&mut self, job: Job, fate: Fate) {
        let lives = matches!(fate, Fate::Lives);
        if job.1.reads_only() || (job.1.is_activation() && !lives) {
            self.calm = false;
        }
        let exact = self.is_exact();
        match fate {
            Fate::Lives => self.live(job),
            Fate::Dies { nth, mode, here } => self.die(job, nth, mode, here),
            Fate::HeldUp {
                nth,
                past_lease,
                meanwhile,
            } => self.hold_up(job, nth, past_lease, self.choose(meanwhile)),
        }
        let recovered = match fate {
            Fate::Lives => true,
            Fate::Dies { here, .. } => here.is_some(),
            Fate::HeldUp {
                past_lease,
                meanwhile,
                ..
            } => past_lease && meanwhile == Command::Scan,
        };
        if exact && recovered {
            assert!(self.settled(), "an operation is left");
        }
    }

    fn count(&mut self, process: &'static str, outcome: &Outcome) {
        let ending = match outcome {
            Some(Ok(_)) => "done",
            Some(Err(_)) => "refused",
            None => "unknown",
        };
        *self.tally.entry((process, ending)).or_default() += 1;
    }

    pub(crate) fn live(&mut self, job: Job) {
        let exact = self.is_exact();
        self.stop_vm(job);
        let outcome = self.run_alone(job);
        self.count("lived", &outcome);
        self.learn(job, &outcome, exact);
    }

    fn run_alone(&self, job: Job) -> Outcome {
        let process = self.bench.start(job.0);
        let faults = Faults::none();
        run(&self.bench, &process, &faults, job, &self.database())
    }

    fn die(&mut self, job: Job, nth: usize, mode: Mode, here: Option<bool>) {
        let exact = self.is_exact();
        self.stop_vm(job);
        let calls = Calls::Changes;
        let plan = Plan { calls, nth, mode };
        let (outcome, hit) = if mode == Mode::Late {
            // Leaked, because the process and its request outlive the step.
            let process: &'static B::Process = Box::leak(Box::new(self.bench.start(job.0)));
            let faults: &'static Faults<'static> = Box::leak(Box::new(Faults::plan(plan)));
            let outcome = run(&self.bench, process, faults, job, &self.database());
            match faults.hit() {
                // XAPI's plugins pause and resume. Their calls end before the lease.
                Some("pause_disk" | "resume_disk") => faults.deliver(),
                Some(_) => self.underway.push(faults),
                None => {}
            }
            (outcome, faults.hit())
        } else {
            let process = self.bench.start(job.0);
            let faults = Faults::plan(plan);
            let outcome = run(&self.bench, &process, &faults, job, &self.database());
            (outcome, faults.hit())
        };
        self.count(if hit.is_some() { "died" } else { "lived" }, &outcome);
        self.learn(job, &outcome, exact);
        if let (Some(_), Some(here)) = (hit, here) {
            self.recover(job.0, here);
        }
    }

    /// The same host recovers at once, or the other one when the lease is over. Then late requests arrive.
    fn recover(&mut self, host: usize, here: bool) {
        if !here {
            self.bench.let_leases_end();
        }
        let recoverer = if here { host } else { 1 - host };
        let scan = (recoverer, Command::Scan);
        let outcome = self.run_alone(scan);
        assert!(matches!(outcome, Some(Ok(_))), "no recovery: {outcome:?}");
        self.learn(scan, &outcome, false);
        while let Some(faults) = self.underway.pop() {
            faults.deliver();
        }
    }

    fn hold_up(&mut self, job: Job, nth: usize, past_lease: bool, meanwhile: Command) {
        let exact = self.is_exact() && meanwhile == Command::Scan;
        let settled = self.settled();
        let other = (1 - job.0, meanwhile);
        self.stop_vm(job);
        let database = self.database();
        let interrupted = RefCell::new(None);
        let process = self.bench.start(job.0);
        let outcome = {
            let closed = self.devices_to_close(other);
            let faults = Faults::interrupted(nth, || {
                let at_work = settled && past_lease && !self.keys("op.").is_empty();
                if past_lease {
                    self.bench.let_leases_end();
                }
                for device in closed {
                    self.bench.set_open(other.0, &device, false);
                }
                let outcome = self.run_alone(other);
                let taken_over = at_work && meanwhile == Command::Scan;
                let contents = taken_over.then(|| self.contents());
                *interrupted.borrow_mut() = Some((outcome, contents));
            });
            run(&self.bench, &process, &faults, job, &database)
        };
        let Some((others, recovered)) = interrupted.take() else {
            self.count("lived", &outcome);
            return self.learn(job, &outcome, exact);
        };
        let outcome = match recovered {
            Some(recovered) => {
                assert_eq!(
                    self.contents(),
                    recovered,
                    "its lease was over, and it went on"
                );
                let outcome = outcome.filter(Result::is_ok);
                self.count("overtaken", &outcome);
                outcome
            }
            None if exact => outcome,
            None => unless_overtaken(outcome),
        };
        if exact {
            assert!(matches!(others, Some(Ok(_))), "no scan: {others:?}");
            self.learn(job, &outcome, true);
            return;
        }
        self.learn_in_any_order([(job, outcome), (other, unless_overtaken(others))]);
    }

    /// Two commands ran at the same time: the result must be that of one order of them.
    fn learn_in_any_order(&mut self, outcomes: [(Job, Outcome); 2]) {
        let before = self.vdis.clone();
        let [first, second] = &outcomes;
        for [(job, outcome), then] in [[second, first], [first, second]] {
            let learnt = catch_unwind(AssertUnwindSafe(|| {
                self.learn(*job, outcome, false);
                self.learn(then.0, &then.1, false);
                self.check();
            }));
            if learnt.is_ok() {
                return;
            }
            self.vdis.clone_from(&before);
        }
        panic!("the results of the two commands fit neither order");
    }

    fn database(&self) -> Database {
        let vdis = self.vdis.iter().enumerate();
        let known = vdis
            .filter(|(_, vdi)| !vdi.states.absent)
            .flat_map(|(number, vdi)| {
                let state = vdi.states.present.first();
                state.map(|state| XapiVdi {
                    uuid: self.uuids[number],
                    size: state.size,
                    utilisation: 0,
                    fields: vdi.fields.clone(),
                })
            });
        Database {
            known: known.collect(),
            uuids: self.uuids.clone(),
        }
    }

    /// Stops the VM of a VDI before it is deactivated.
    fn stop_vm(&mut self, job: Job) {
        for device in self.devices_to_close(job) {
            self.bench.set_open(job.0, &device, false);
        }
    }

    fn devices_to_close(&self, (host, command): Job) -> Vec<PathBuf> {
        let Command::Deactivate(stopped) = command else {
            return Vec::new();
        };
        let others = self.vdis.iter().enumerate();
        let others: BTreeSet<_> = others
            .filter(|(number, _)| *number != stopped)
            .flat_map(|(_, vdi)| &vdi.open)
            .collect();
        let open = self.vdis[stopped].open.iter();
        let closed = open.filter(|opened| opened.0 == host && !others.contains(opened));
        closed.map(|(_, device)| device.clone()).collect()
    }
}
