//! Random histories of holders, crashes and zombies against a model of what must be in the log.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A whole transaction.
    Transact,
    /// An entry without outcome.
    Hold,
    /// The target has the transaction; the holder dies before it writes COMMITTED.
    DieAfterCommit,
    /// The intent is durable, the target does not have it; the holder dies.
    DieBeforeCommit,
    /// Appended, not synced; the holder dies.
    DieBeforeSync,
    /// The transaction was aborted and the holder knows.
    Abort,
    /// The next holder comes; the old one lives on.
    TakeOver,
    /// The newest zombie appends an intent.
    Zombie,
    /// Bytes of a write that never finished, at the end of the holder's journal.
    Tear(u8),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Transact),
        2 => Just(Step::Hold),
        1 => Just(Step::DieAfterCommit),
        1 => Just(Step::DieBeforeCommit),
        1 => Just(Step::DieBeforeSync),
        1 => Just(Step::Abort),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Zombie),
        1 => any::<u8>().prop_map(Step::Tear),
        2 => Just(Step::Publish),
    ]
}

/// What the target holds: the sequence numbers of the intents, in order.
struct Model {
    place: Place,
    log: Log,
    zombie: Option<Log>,
    target: Vec<u64>,
    next: u64,
}

impl Model {
    fn take_over(&mut self) {
        let log = self.place.take_over().unwrap();
        self.zombie = Some(std::mem::replace(&mut self.log, log));
    }

    fn intent(&mut self) -> (u64, u64) {
        self.next += 1;
        (self.next, self.log.append(&intent(self.next)).unwrap().index)
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hold => drop(self.log.append(&held(1)).unwrap()),
            Step::Publish => {
                let key = SigningKey::from_seed(&[9; 32]).unwrap();
                self.log.publish(u64::MAX, &key, "example.com/any").unwrap();
            }
            Step::TakeOver => self.take_over(),
            Step::Zombie => {
                if let Some(zombie) = self.zombie.as_mut().filter(|z| z.open.is_none()) {
                    zombie.append(&intent(666)).unwrap();
                    zombie.sync().unwrap();
                }
            }
            Step::Tear(bytes) => {
                self.log.sync().unwrap();
                let path = self.log.journal.path(&journals(&self.place.dir()));
                let mut torn = fs::read(&path).unwrap();
                torn.extend(std::iter::repeat_n(0x5a, usize::from(*bytes)));
                fs::write(&path, torn).unwrap();
                self.take_over();
                // The torn journal takes no more: its holder is gone.
                self.zombie = None;
            }
            Step::Transact | Step::DieAfterCommit => {
                let (seq, of) = self.intent();
                self.place.position = Some(self.log.sync().unwrap());
                self.target.push(seq);
                if matches!(step, Step::Transact) {
                    self.log.append(&Entry::Committed { of }).unwrap();
                } else {
                    self.take_over();
                }
            }
            Step::DieBeforeCommit => {
                self.intent();
                self.log.sync().unwrap();
                self.take_over();
            }
            Step::DieBeforeSync => {
                self.intent();
                self.take_over();
                // What it appended is lost with it.
                self.zombie = None;
            }
            Step::Abort => {
                let (_, of) = self.intent();
                self.log.sync().unwrap();
                self.log.append(&Entry::Void { of, why: "aborted".into() }).unwrap();
            }
        }
    }

    /// The log says of each intent what the target says.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.take_over();
        let entries = read(self.place.home.path(), NAME, Some(&self.log.head())).unwrap();
        let committed: Vec<u64> = (entries.iter())
            .filter_map(|(_, entry)| match entry {
                Entry::Committed { of } => match &entries[*of as usize].1 {
                    Entry::Intent(intent) => Some(intent.seq),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        prop_assert_eq!(&committed, &self.target);
        let expect = Expect { head: Some(self.log.head()), ..Expect::default() };
        let report = verify::log(&self.place.dir(), &expect).unwrap();
        prop_assert!(report.holds(), "{:?}", report.findings);
        prop_assert_eq!(report.open, None);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_history_says_what_the_target_says(steps in prop::collection::vec(step(), 1..30)) {
        let place = Place::new();
        let log = place.take_over().unwrap();
        let mut model = Model { place, log, zombie: None, target: Vec::new(), next: 0 };
        for step in &steps {
            model.step(step);
        }
        model.check()?;
    }

    /// Outside bytes never panic.
    #[test]
    fn any_bytes_as_a_journal_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let place = Place::new();
        fs::create_dir_all(journals(&place.dir())).unwrap();
        fs::write(JournalId([3; 16]).path(&journals(&place.dir())), bytes).unwrap();
        prop_assert_eq!(place.take_over().unwrap().next_index(), 0);
        let head = Head { journal: JournalId([3; 16]), size: 1, root: [0; 32] };
        let lost = Log::take_over(place.home.path(), NAME, Some(&head), keys());
        prop_assert!(lost.is_err());
    }
}
