//! What somebody who follows the jobs is to be told.

use super::{JobId, Jobs};

impl Jobs {
    /// Whether somebody wants to know which jobs begin and end.
    pub fn keep_news(&mut self, wanted: bool) {
        if wanted {
            self.news.get_or_insert_default();
        } else {
            self.news = None;
        }
    }

    /// Whether any job has begun or ended since the news were taken.
    #[inline]
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.news.as_ref().is_some_and(|news| !news.is_empty())
    }

    /// The jobs that have begun (`false`) or ended (`true`) since the last call.
    pub fn take_news(&mut self) -> Vec<(JobId, bool)> {
        self.news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note(&mut self, id: JobId, ended: bool) {
        if let Some(news) = &mut self.news {
            news.push((id, ended));
        }
    }
}
