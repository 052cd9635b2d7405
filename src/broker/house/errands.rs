//! What operators say about keys and rights (SPEC 14.3): it takes a file, so it is done here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tracing::info;

use crate::broker::shared::{Shared, now};
use crate::id::Principal;
use crate::keys::ring::{Changes, Explanation};
use crate::keys::{Doorkeeper, EditError, Given, text_of_public};
use crate::proto::core::Errand;
use crate::wire::mjp::{
    BackupHeader, BackupReport, ChangeReport, Code, HEADER_MAX, KeyHeader, KeyReport, Packed,
    StrangerReport, Verb,
};

/// Octets of a report without its entries, at most.
const REST: usize = 160;
/// Octets of an entry without its texts, at most.
const ENTRY: usize = 100;
/// Changes that are logged one by one.
const LOGGED_MAX: usize = 20;

/// Why an errand is not done.
type Refused = (Code, String);

/// What an errand has come to.
enum Done {
    /// Something was looked at.
    Seen(Box<Packed>),
    /// Something has changed: those who are here are to be judged again.
    Changed(Changes),
}

/// Runs errands as long as the broker runs.
pub(super) async fn run(shared: Arc<Shared>) {
    // A copy takes its time, in which others are let in or not; there is one at a time.
    let mut copies = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.running.cancelled() => return,
            () = shared.errands.notified() => {}
            Some(_) = copies.join_next() => continue,
        }
        let errands = shared.with_core(|core, _| core.take_errands());
        for errand in errands {
            if errand.verb != Verb::StoreBackup {
                let answer = tokio::select! {
                    // Those behind it are not begun any more.
                    () = shared.running.cancelled() => return,
                    answer = answer(&shared, &errand) => answer,
                };
                tell(&shared, &errand, &answer);
            } else if copies.is_empty() {
                let shared = shared.clone();
                copies.spawn(async move {
                    let answer = copy(&shared, &errand).await;
                    tell(&shared, &errand, &answer);
                });
            } else {
                let why = "the store is being copied; try again when that is done";
                tell(&shared, &errand, &Err((Code::Overloaded, why.into())));
            }
        }
    }
}

fn tell(shared: &Shared, errand: &Errand, answer: &Result<Packed, Refused>) {
    shared.with_core(|core, out| match answer {
        Ok(report) => core.answer_errand(errand, Ok(report), out),
        Err((code, why)) => core.answer_errand(errand, Err((*code, why)), out),
    });
}

/// Copies the store while it works (SPEC 15.7).
async fn copy(shared: &Arc<Shared>, errand: &Errand) -> Result<Packed, Refused> {
    let bad = |why: String| (Code::BadRequest, why);
    let says = BackupHeader::decode(&errand.header).map_err(|error| bad(error.to_string()))?;
    let to = says.to.map(PathBuf::from).filter(|to| to.is_absolute());
    let to = to.ok_or_else(|| bad("`to` is missing, or does not begin with /".into()))?;
    if shared.store.get().is_none() {
        let why = "this broker has no store (store.path)";
        return Err((Code::Unsupported, why.into()));
    }
    info!(to = %to.display(), "an operator has the store copied");
    let (work, directory) = (shared.clone(), to.clone());
    let copied =
        tokio::task::spawn_blocking(move || work.store.get().map(|store| store.backup(&directory)));
    let copied = copied.await.ok().flatten();
    let copied = copied.ok_or_else(|| (Code::Failed, "the broker stops".to_owned()))?;
    let census = copied.map_err(|error| (Code::Failed, error.to_string()))?;
    let (records, bytes, file) = (census.total(), census.bytes, census.file);
    info!(to = %to.display(), records, "the store is copied");
    Ok(Packed::new(&BackupReport { records, bytes, file }))
}

async fn answer(shared: &Arc<Shared>, errand: &Errand) -> Result<Packed, Refused> {
    let (verb, header) = (errand.verb, errand.header.clone());
    // What blocks is cancelled only with the runtime.
    let stopped = || (Code::Failed, "the broker stops".to_owned());
    let done = match (shared.guard.doorkeeper().cloned(), verb) {
        // The broker's own key is read again, too.
        (_, Verb::Reload) => {
            let shared = shared.clone();
            let reloaded = tokio::task::spawn_blocking(move || shared.reload()).await;
            let reloaded = reloaded.map_err(|_| stopped())?;
            let reloaded = reloaded.map_err(|error| (Code::Failed, error.to_string()))?;
            return Ok(changed(&reloaded.changes, reloaded.closed, reloaded.broker_key));
        }
        (None, _) => {
            let why = "this broker asks nobody for a key; start it with --curve-secret and \
                       --authorized-keys";
            return Err((Code::Unsupported, why.into()));
        }
        (Some(keeper), verb) => {
            let work = move || carry_out(&keeper, verb, &header, now());
            let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(stopped()));
            // What has failed may have changed the file nevertheless.
            if let Err((Code::Failed, _)) = &done {
                shared.judge_again();
            }
            done?
        }
    };
    Ok(match done {
        Done::Seen(report) => *report,
        Done::Changed(changes) => {
            for change in changes.list.iter().take(LOGGED_MAX) {
                info!(verb = verb.as_str(), %change, "an operator changed who may come in");
            }
            changed(&changes, shared.judge_again().closed, false)
        }
    })
}

fn carry_out(
    keeper: &Arc<Doorkeeper>,
    verb: Verb,
    header: &[u8],
    now: Instant,
) -> Result<Done, Refused> {
    let bad = |why: String| (Code::BadRequest, why);
    let says = KeyHeader::decode(header).map_err(|error| bad(error.to_string()))?;
    let key = || says.key.ok_or_else(|| bad("`key` is missing".into()));
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let done = match verb {
        Verb::KeyPending => return Ok(Done::Seen(Box::new(pending(keeper, says.after, now)))),
        Verb::AclTest => {
            return test(keeper, key()?, says.rule).map(|report| Done::Seen(Box::new(report)));
        }
        Verb::KeyApprove => {
            let [roles, services, allow] =
                [&says.roles, &says.services, &says.allow].map(|list| texts(list));
            keeper.approve(key()?, says.name, Given { roles, services, allow })
        }
        Verb::KeyDeny => keeper.deny(key()?, says.name),
        Verb::KeyRevoke => keeper.revoke(key()?),
        // The core has none of the others done here.
        _ => return Err((Code::Unsupported, "no verb of this part of the broker".into())),
    };
    done.map(|done| Done::Changed(done.changes))
        .map_err(|error| (code_of(&error), error.to_string()))
}

fn code_of(error: &EditError) -> Code {
    match error {
        EditError::NotFound { .. } => Code::NotFound,
        EditError::Any => Code::Unsupported,
        EditError::Wrong(_) => Code::BadRequest,
        EditError::Ring(_) | EditError::Taken { .. } => Code::Failed,
    }
}

/// Room for entries in one report.
struct Room(usize);

impl Room {
    fn new() -> Self {
        Self(HEADER_MAX - REST)
    }

    fn take(&mut self, texts: &[&str]) -> bool {
        let octets = ENTRY + texts.iter().map(|text| text.len()).sum::<usize>();
        let fits = octets <= self.0;
        self.0 = self.0.saturating_sub(octets);
        fits
    }
}

fn pending(keeper: &Doorkeeper, after: Option<u64>, now: Instant) -> Packed {
    let from = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
    let strangers: Vec<_> = keeper.pending().into_iter().skip(from).collect();
    let texts = strangers.iter().map(|stranger| {
        let address = address_of(&stranger.from);
        (stranger.key.fingerprint(), text_of_public(&stranger.key), address)
    });
    let texts: Vec<_> = texts.collect();
    let mut room = Room::new();
    let millis = |at: Instant| {
        let age = now.saturating_duration_since(at).as_millis();
        u64::try_from(age).unwrap_or(u64::MAX)
    };
    let rows = strangers.iter().zip(&texts);
    let rows = rows.take_while(|(_, (print, key, from))| room.take(&[print, key, from]));
    let rows = rows.map(|(stranger, (fingerprint, key, address))| StrangerReport {
        fingerprint,
        key,
        address,
        first: millis(stranger.first),
        last: millis(stranger.last),
        attempts: stranger.attempts,
    });
    let rows: Vec<_> = rows.collect();
    let next = (rows.len() < strangers.len()).then(|| (from + rows.len()) as u64);
    Packed::new(&KeyReport { pending: Some(rows), next, ..KeyReport::default() })
}

fn address_of(from: &Principal) -> String {
    match from {
        Principal::Address(octets) => std::net::Ipv6Addr::from(*octets).to_canonical().to_string(),
        _ => "local".into(),
    }
}

fn changed(changes: &Changes, closed: usize, broker_key: bool) -> Packed {
    let mut room = Room::new();
    let rows = changes.list.iter().map(|change| ChangeReport {
        change: change.kind.as_str(),
        what: change.what,
        name: &change.name,
        fingerprint: change.fingerprint.as_deref(),
    });
    let rows: Vec<_> = rows
        .take_while(|row| room.take(&[row.name, row.fingerprint.unwrap_or_default()]))
        .collect();
    let more = (changes.list.len() - rows.len() + changes.more) as u64;
    Packed::new(&KeyReport {
        changes: Some(rows),
        more: (more > 0).then_some(more),
        broker_key: broker_key.then_some(true),
        closed: (closed > 0).then_some(closed as u64),
        ..KeyReport::default()
    })
}

fn test(keeper: &Doorkeeper, who: &str, rule: Option<&str>) -> Result<Packed, Refused> {
    let rule = rule.ok_or_else(|| (Code::BadRequest, "`rule` is missing".to_owned()))?;
    let found =
        keeper.ring().test(who, rule).map_err(|error| (code_of(&error), error.to_string()))?;
    let mut room = Room::new();
    let rows = found.iter().map(Explanation::report);
    let rows = rows.take_while(|row| {
        let (name, rule) = (row.name.unwrap_or_default(), row.rule.unwrap_or_default());
        room.take(&[row.fingerprint.unwrap_or_default(), name, row.because, rule])
    });
    let decisions = Some(rows.collect());
    Ok(Packed::new(&KeyReport { decisions, ..KeyReport::default() }))
}
