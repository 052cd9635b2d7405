//! What a worker holds: requests that are being handled, and those that wait for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One request at this worker, for the time that the worker runs. The broker's own name for it may
/// come again after a reconnect; this one does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job(u64);

/// The broker's name for a request, which the answer has to carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    /// MDP: the client address, as it came.
    Address(Box<[u8]>),
    /// MJP: the id.
    Id(u64),
}

/// A request that was taken back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// It had not been begun, and is not held any more.
    Waiting(Token),
    /// It is being handled.
    Begun(Job),
    /// It is not held.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Held<J> {
    next: u64,
    /// What this connection brought.
    tokens: BTreeMap<Job, Token>,
    /// The same by MJP id: what CANCEL names.
    ids: BTreeMap<u64, Job>,
    /// Of these the ones not begun, oldest first.
    waiting: VecDeque<(Job, J)>,
    /// Being handled for a connection that is gone: nobody wants the answers, but they take a place
    /// until they end.
    orphans: BTreeSet<Job>,
    /// Came when nothing was begun any more.
    refused: u64,
}

impl<J> Held<J> {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            tokens: BTreeMap::new(),
            ids: BTreeMap::new(),
            waiting: VecDeque::new(),
            orphans: BTreeSet::new(),
            refused: 0,
        }
    }

    /// Whether nothing has to be finished.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Requests of this connection without an answer, those that will not be begun included.
    pub(super) fn unanswered(&self) -> u64 {
        self.tokens.len() as u64 + self.refused
    }

    /// Requests that are being handled, whoever wants the answers.
    pub(super) fn running(&self) -> usize {
        self.tokens.len() - self.waiting.len() + self.orphans.len()
    }

    pub(super) fn take(&mut self, token: Token, request: J) {
        let job = Job(self.next);
        self.next += 1;
        if let Token::Id(id) = token {
            self.ids.insert(id, job);
        }
        self.tokens.insert(job, token);
        self.waiting.push_back((job, request));
    }

    /// Notes a request that will not be begun.
    pub(super) fn refuse(&mut self) {
        self.refused += 1;
    }

    /// The next request to be begun.
    pub(super) fn begin(&mut self) -> Option<(Job, J)> {
        self.waiting.pop_front()
    }

    /// The broker's name of a request, if its answer is still wanted.
    pub(super) fn token(&self, job: Job) -> Option<&Token> {
        self.tokens.get(&job)
    }

    /// The request of that id.
    pub(super) fn job(&self, id: u64) -> Option<Job> {
        self.ids.get(&id).copied()
    }

    /// A request that was being handled is not any more.
    pub(super) fn end(&mut self, job: Job) -> Option<Token> {
        if self.orphans.remove(&job) {
            return None;
        }
        let token = self.tokens.remove(&job)?;
        self.forget(&token, job);
        Some(token)
    }

    pub(super) fn cancel(&mut self, id: u64) -> Cancelled {
        let Some(&job) = self.ids.get(&id) else { return Cancelled::Unknown };
        match self.waiting.iter().position(|(waiting, _)| *waiting == job) {
            None => Cancelled::Begun(job),
            Some(at) => {
                self.waiting.remove(at);
                self.end(job).map_or(Cancelled::Unknown, Cancelled::Waiting)
            }
        }
    }

    /// The connection is gone, and what it brought is the broker's again; returns what was being
    /// handled.
    pub(super) fn abandon(&mut self) -> Vec<Job> {
        for (job, _) in self.waiting.drain(..) {
            self.tokens.remove(&job);
        }
        let begun: Vec<_> = std::mem::take(&mut self.tokens).into_keys().collect();
        self.ids.clear();
        self.orphans.extend(&begun);
        self.refused = 0;
        begun
    }

    fn forget(&mut self, token: &Token, job: Job) {
        if let Token::Id(id) = token
            && self.ids.get(id) == Some(&job)
        {
            self.ids.remove(id);
        }
    }
}
