//! Requests begin, in boxes that others have left.

use crate::id::{PeerId, RequestId};
use crate::proto::clock::Time;
use crate::proto::dialect::{CallerVoice, Tried};
use crate::wire::message::Frames;

use super::Router;
use super::course::Course;
use super::fence::Fence;
use super::list::Links;
use super::request::{Parts, Place, Request};
use super::service::ServiceId;

/// What a request begins with.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) sequence: u64,
    pub(super) service: ServiceId,
    pub(super) caller: PeerId,
    pub(super) voice: CallerVoice,
    pub(super) body: Frames<'a>,
    pub(super) now: Time,
    pub(super) place: Place,
    pub(super) cost: usize,
    /// Deliveries before.
    pub(super) tried: Tried,
    pub(super) fence: Option<Box<Fence>>,
    pub(super) course: Option<Box<Course>>,
}

impl Router {
    /// Boxes that are kept for requests to come.
    const BOXES_MAX: usize = 1024;

    /// Begins a request: it is written where it stays, and not moved about.
    // By a call what it begins with would be moved once more.
    #[inline(always)]
    pub(super) fn open(&mut self, opening: Opening<'_>) -> RequestId {
        let mut request = self.boxes.pop().unwrap_or_default();
        request.sequence = opening.sequence;
        request.service = opening.service;
        request.caller = opening.caller;
        request.voice = opening.voice;
        request.body.assign(&opening.body);
        (request.accepted_at, request.delivered_at) = (opening.now, opening.now);
        request.place = opening.place;
        request.cost = opening.cost;
        (request.losses, request.solo_losses) = (opening.tried.losses, opening.tried.solo_losses);
        request.fence = opening.fence;
        request.course = opening.course;
        if opening.tried.failures > 0 {
            request.course.get_or_insert_default().failures = opening.tried.failures;
        }
        self.requests.insert(request)
    }

    /// Keeps the box of a request that has ended, with nothing in it.
    #[inline]
    pub(super) fn put_away(&mut self, mut request: Box<Request>) {
        if self.boxes.len() >= Self::BOXES_MAX {
            return;
        }
        request.voice = CallerVoice::Nobody;
        request.body.clear();
        request.answering = false;
        request.parts = Parts::default();
        (request.asks, request.fence, request.course) = (None, None, None);
        (request.last_holder, request.links) = (None, Links::default());
        self.boxes.push(request);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proto::router::talk::Asks;
    use crate::wire::message::Message;

    #[test]
    fn nothing_of_a_request_is_left_in_its_box() {
        let body = Message::new([vec![1; 300_000], vec![2; 10]]);
        let mut router = Router::new(Arc::default(), 0);
        let full = Request {
            body: body.clone(),
            answering: true,
            parts: Parts { kept: vec![body.clone()], frames: 2, bytes: 300_010, overflow: true },
            asks: Some(Box::<Asks>::default()),
            course: Some(Box::default()),
            last_holder: Some(PeerId::default()),
            ..Request::default()
        };
        router.put_away(Box::new(full));
        let left = router.boxes.pop().unwrap();
        assert_eq!(format!("{left:?}"), format!("{:?}", Request::default()));
    }
}
