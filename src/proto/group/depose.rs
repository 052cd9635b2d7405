//! An operator wants another leader.

use super::table::{Groups, Refused};
use super::{Charter, Now};

impl Groups {
    /// Whoever leads the group hands over, as if it had resigned: to the member of that name, or to
    /// who is next. `None`: there is no such group.
    ///
    /// # Errors
    /// [`Refused::NotCoordinated`], [`Refused::NoLeader`], and [`Refused::NotMember`] if nobody of
    /// that name may lead: then all stays as it is.
    pub fn depose(
        &mut self,
        now: Now,
        group: &str,
        to: Option<&str>,
    ) -> Option<Result<(), Refused>> {
        let Charter { leader, .. } = *self.charter(group)?;
        if !leader {
            return Some(Err(Refused::NotCoordinated));
        }
        let known = self.groups.get(*self.by_name.get(group)?)?;
        let lead = known.leader(now.time);
        let lead = lead.and_then(|lead| Some((lead.epoch, known.members.get(&lead.member)?)));
        let Some((epoch, member)) = lead else { return Some(Err(Refused::NoLeader)) };
        let seat = (member.peer, member.id);
        Some(self.resign(now, seat, epoch, to.map(|name| (name, None))))
    }
}
