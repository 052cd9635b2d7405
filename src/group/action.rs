//! Beginning something at a moment.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::ballot::Action;
use super::event::Outcome;

/// A timer may wake up so late; before that there is nothing but waiting.
const COARSE: Duration = Duration::from_millis(2);

/// Begins it at `at`, unless that is later than `until` by then.
pub(super) async fn act(at: Instant, until: Instant, action: Action) -> Outcome {
    wait_until(at).await;
    if now() > until {
        return Outcome::Missed;
    }
    // What is said in making the future may panic as well.
    match AssertUnwindSafe(async move { action().await }).catch_unwind().await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(why)) => {
            tracing::warn!(why, "an action has failed");
            Outcome::Failed
        }
        Err(_) => {
            tracing::error!("an action panicked");
            Outcome::Failed
        }
    }
}

/// Not before `at`, and as soon behind it as the runtime has time: timers count milliseconds, so
/// the last of them are spent asking the clock, and others have their turn in between.
async fn wait_until(at: Instant) {
    if let Some(before) = at.checked_sub(COARSE) {
        sleep_until(before.into()).await;
    }
    let mut last = now();
    while last < at {
        yield_now().await;
        let time = now();
        if time == last {
            // A clock that stands still, as in tests, goes on only for timers.
            return sleep_until(at.into()).await;
        }
        last = time;
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(result: Result<(), String>) -> Action {
        Box::new(move || Box::pin(async move { result }))
    }

    #[tokio::test]
    async fn an_action_is_not_begun_early_and_not_much_later() {
        let at = now() + Duration::from_millis(20);
        let (to, begun) = tokio::sync::oneshot::channel();
        let notes: Action = Box::new(move || {
            let _ = to.send(now());
            Box::pin(async { Ok(()) })
        });
        let until = at + Duration::from_secs(10);
        assert_eq!(act(at, until, notes).await, Outcome::Done);
        assert!(begun.await.unwrap() >= at);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_or_panics_has_failed_and_what_is_late_is_missed() {
        let (at, ms) = (now() + Duration::from_secs(5), Duration::from_millis(1));
        assert_eq!(act(at, at + ms, action(Ok(()))).await, Outcome::Done);
        assert_eq!(now(), at);
        assert_eq!(act(at, at + ms, action(Err("no".into()))).await, Outcome::Failed);
        let panics: Action = Box::new(|| panic!("in the middle of it"));
        assert_eq!(act(at, at + ms, panics).await, Outcome::Failed);
        assert_eq!(act(at - ms - ms, at - ms, action(Ok(()))).await, Outcome::Missed);
    }
}
