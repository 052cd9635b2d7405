//! Changing who leads a group.

use super::Refused;
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::group::Refused as No;
use crate::proto::output::Output;
use crate::wire::mjp::{AdminHeader, Code};

impl Core {
    /// Has whoever leads a group hand over.
    pub(super) fn depose<O: Output>(
        &mut self,
        now: Time,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) -> Result<(), Refused> {
        let group = says.name.ok_or_else(|| (Code::BadRequest, "`name` is missing".into()))?;
        let moment = self.moment(now);
        let done = self.groups.depose(moment, group, says.owner);
        self.tell_groups(now, out);
        match done {
            Some(Ok(())) => Ok(()),
            None => Err((Code::NotFound, "no group has that name".into())),
            Some(Err(No::NotCoordinated)) => {
                Err((Code::NotCoordinated, "the group never has a leader".into()))
            }
            Some(Err(No::NoLeader)) => Err((Code::NoLeader, "nobody leads the group now".into())),
            Some(Err(_)) => {
                Err((Code::NotMember, "no other member of that name may lead now".into()))
            }
        }
    }
}
