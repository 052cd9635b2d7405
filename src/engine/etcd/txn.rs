//! A transaction, as it is put together.

use super::client::prefix_end;
use super::wire::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

/// A transaction: if all comparisons hold, one list is done, otherwise the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Txn {
    pub(super) request: TxnRequest,
}

impl Txn {
    /// If nobody has that key.
    #[must_use]
    pub fn if_missing(self, key: &str) -> Self {
        self.if_created(key, 0)
    }

    /// If that key was made at that revision, and has been there since.
    #[must_use]
    pub fn if_created(mut self, key: &str, revision: i64) -> Self {
        let (key, create_revision) = (key.into(), Some(revision));
        self.request.compare.push(Compare {
            target: 1,
            key,
            create_revision,
            ..Compare::default()
        });
        self
    }

    /// If there is no key with that beginning.
    #[must_use]
    pub fn if_none_below(mut self, prefix: &str) -> Self {
        self.request.compare.push(Compare {
            target: 1,
            key: prefix.into(),
            create_revision: Some(0),
            range_end: prefix_end(prefix.as_bytes()),
            ..Compare::default()
        });
        self
    }

    /// Then it is put, for as long as the lease lives; 0 is no lease.
    #[must_use]
    pub fn then_put(mut self, key: &str, value: &[u8], lease: i64) -> Self {
        let put = PutRequest { key: key.into(), value: value.into(), lease };
        let put = RequestOp { request_put: Some(put), ..RequestOp::default() };
        self.request.success.push(put);
        self
    }

    /// Then it is deleted, if it is there.
    #[must_use]
    pub fn then_delete(mut self, key: &str) -> Self {
        let delete = DeleteRangeRequest { key: key.into(), range_end: Vec::new() };
        let delete = RequestOp { request_delete_range: Some(delete), ..RequestOp::default() };
        self.request.success.push(delete);
        self
    }

    /// Otherwise it is put, for as long as the lease lives; 0 is no lease.
    #[must_use]
    pub fn else_put(mut self, key: &str, value: &[u8], lease: i64) -> Self {
        let put = PutRequest { key: key.into(), value: value.into(), lease };
        let put = RequestOp { request_put: Some(put), ..RequestOp::default() };
        self.request.failure.push(put);
        self
    }

    /// Otherwise it is read.
    #[must_use]
    pub fn else_get(mut self, key: &str) -> Self {
        let range = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let range = RequestOp { request_range: Some(range), ..RequestOp::default() };
        self.request.failure.push(range);
        self
    }
}
