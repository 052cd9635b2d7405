//! Pages of flows and of their ends.

use crate::id::{Identity, PeerId, ServiceName};
use crate::proto::clock::Time;
use crate::proto::core::Core;
use crate::proto::core::report::{Room, millis};
use crate::proto::output::Output;
use crate::wire::mjp::{AdminHeader, AdminReport, EndReport, FlowReport};
use crate::wire::zio::Shape;

use super::listing::{cursor, text};

impl Core {
    /// A page of the flows.
    pub(super) fn say_flows<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) {
        let (rows, mut next) = self.flows.table.page(now, cursor(says), says.max());
        let names: Vec<(Identity, Option<Identity>)> = rows
            .iter()
            .map(|row| (self.name_of(row.client.peer), row.handler.map(|it| self.name_of(it.peer))))
            .collect();
        let (mut room, mut flows) = (Room::new(says.max()), Vec::new());
        for (row, (client, handler)) in rows.iter().zip(&names) {
            let asked = says.service.is_none_or(|asked| {
                row.service.as_ref().is_some_and(|service| service.as_bytes() == asked)
            });
            let named = [Some(client), handler.as_ref()].into_iter().flatten();
            let octets: usize = named.map(|name| name.as_bytes().len()).sum();
            let service = row.service.as_ref().map(ServiceName::as_bytes);
            if asked && !room.take(octets + service.map_or(0, <[u8]>::len)) {
                next = Some(crate::id::slot_of(row.flow));
                break;
            }
            if asked {
                flows.push(FlowReport {
                    flow: row.flow.token(),
                    service,
                    client: text(client),
                    handler: handler.as_ref().map(text),
                    direction: row.direction.name(),
                    state: row.stage.label(),
                    credit: row.credit,
                    bytes: row.credit_octets,
                    messages: row.dats,
                    octets: row.bytes,
                    age: millis(row.age),
                    silent: millis(row.silent),
                });
            }
        }
        let next = next.map(u64::from);
        let report = AdminReport { flows: Some(flows), next, ..AdminReport::default() };
        self.say_report(id, query, &report, out);
    }

    /// A page of the ends.
    pub(super) fn say_ends<O: Output>(
        &mut self,
        now: Time,
        id: PeerId,
        query: u64,
        says: &AdminHeader<'_>,
        out: &mut O,
    ) {
        let (rows, mut next) = self.flows.table.ends_page(cursor(says), says.max());
        let named: Vec<_> = rows.iter().map(|row| (row, self.name_of(row.end.peer))).collect();
        let (mut room, mut ends) = (Room::new(says.max()), Vec::new());
        for (row, name) in &named {
            if !room.take(name.as_bytes().len()) {
                next = Some(crate::id::slot_of(row.end.peer));
                break;
            }
            let joined = self.peers.get(row.end.peer).map(|peer| peer.joined);
            ends.push(EndReport {
                name: text(name),
                socket: match row.shape {
                    Shape::Single => "CLIENT",
                    Shape::Multipart => "DEALER",
                    Shape::Bare => "MJP",
                },
                lanes: (row.lanes > 0).then(|| u64::try_from(row.lanes).unwrap_or(u64::MAX)),
                state: row.state,
                flow: row.flow.map(crate::proto::flow::FlowId::token),
                connected: millis(now.since(joined.unwrap_or(now))),
            });
        }
        let next = next.map(u64::from);
        let report = AdminReport { ends: Some(ends), next, ..AdminReport::default() };
        self.say_report(id, query, &report, out);
    }
}
