//! A disk for tests: it knows what was synchronised, loses the rest in any way that a real one
//! may, and fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

/// What is written at once, octets: a write is torn between two of these.
const SECTOR: usize = 512;

/// Something that was done to the disk.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
    /// The store said that all up to here is stored.
    Said(usize),
}

#[derive(Debug, Default)]
struct Inner {
    octets: Vec<u8>,
    log: Vec<Op>,
    /// Operations so far, and the one that fails.
    count: u64,
    fails: Option<(u64, io::ErrorKind)>,
    /// Nothing more is written.
    full: bool,
}

/// A disk of which every operation is remembered.
#[derive(Debug, Clone, Default)]
pub(super) struct Model(Arc<Mutex<Inner>>);

fn apply(octets: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => {
            let at = usize::try_from(*at).unwrap();
            if octets.len() < at + data.len() {
                octets.resize(at + data.len(), 0);
            }
            octets[at..at + data.len()].copy_from_slice(data);
        }
        Op::SetLen(len) => octets.resize(usize::try_from(*len).unwrap(), 0),
        Op::Sync | Op::Said(_) => {}
    }
}

impl Model {
    pub(super) fn of(octets: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner { octets, ..Inner::default() })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn fail(&self, at: u64, kind: io::ErrorKind) {
        self.with(|inner| inner.fails = Some((at, kind)));
    }

    pub(super) fn fill(&self, full: bool) {
        self.with(|inner| inner.full = full);
    }

    pub(super) fn said(&self, state: usize) {
        self.with(|inner| inner.log.push(Op::Said(state)));
    }

    pub(super) fn log(&self) -> Vec<Op> {
        self.with(|inner| inner.log.clone())
    }

    pub(super) fn count(&self) -> u64 {
        self.with(|inner| inner.count)
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        self.with(|inner| inner.octets.clone())
    }

    /// What survives the loss of power now, if everything is lost that may be.
    pub(super) fn synchronised(&self) -> Vec<u8> {
        crash(&self.log(), |_, _| Survives::No)
    }

    fn step(inner: &mut Inner) -> io::Result<()> {
        inner.count += 1;
        match inner.fails {
            Some((at, kind)) if at == inner.count => {
                inner.fails = None;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn act(&self, op: Op) -> io::Result<()> {
        self.with(|inner| {
            Self::step(inner)?;
            if inner.full && !matches!(op, Op::Sync) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            apply(&mut inner.octets, &op);
            inner.log.push(op);
            Ok(())
        })
    }
}

impl StorageBackend for Model {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|inner| inner.octets.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|inner| {
            let at = usize::try_from(offset).unwrap();
            let octets = inner.octets.get(at..at + out.len());
            out.copy_from_slice(octets.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.act(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.act(Op::Write(offset, data.to_vec()))
    }
}

/// Whether a write that was not synchronised is on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survives {
    No,
    Yes,
    /// Sectors of it, by the bits of a number.
    Torn(u64),
}

/// What is on the disk after the loss of power behind the last of the operations.
pub(super) fn crash(log: &[Op], mut survives: impl FnMut(usize, &Op) -> Survives) -> Vec<u8> {
    let synchronised = log.iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |at| at + 1);
    let mut octets = Vec::new();
    for (at, op) in log.iter().enumerate() {
        if at < synchronised {
            apply(&mut octets, op);
            continue;
        }
        match (survives(at, op), op) {
            (Survives::No, _) => {}
            (Survives::Torn(bits), Op::Write(from, data)) => {
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if bits >> (number % 64) & 1 == 1 {
                        let from = from + (number * SECTOR) as u64;
                        apply(&mut octets, &Op::Write(from, sector.to_vec()));
                    }
                }
            }
            (Survives::Yes | Survives::Torn(_), op) => apply(&mut octets, op),
        }
    }
    octets
}
