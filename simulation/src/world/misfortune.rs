//! What befalls clients, rather than what they do: connections that break, networks that hold bytes back, clocks that
//! jump, operators, strangers.

use super::client::{application_message, options_of};
use super::{Host, World};
use crate::check::Violation;
use crate::scenario::What;
use broker_engine::{Command, Input, Permissions};
use mqtt_proto::ReasonCode;

impl World<'_> {
    /// `online`: the client's connection, if it is accepted.
    pub(super) fn befall(
        &mut self,
        client: usize,
        what: &What,
        online: Option<usize>,
    ) -> Result<(), Violation> {
        match (what, online) {
            (What::Cut, _) => {
                if let Some(link) = self.players[client].link {
                    self.counts_as_storm();
                    self.client_closes(link, true);
                    self.client_is_offline(link);
                }
                Ok(())
            }
            (What::EndMidPacket, Some(link)) => {
                self.checks.marks.fault("N08");
                // The first half of a PUBLISH.
                self.send_up(link, &[0x32, 20, 0, 1, b'a', 0]);
                self.client_closes(link, false);
                self.client_is_offline(link);
                Ok(())
            }
            (What::HalfClose, Some(link)) => {
                self.half_close(link);
                Ok(())
            }
            (What::Hold { up, down }, _) => {
                self.hold(client, *up, *down);
                Ok(())
            }
            (What::Release, _) => self.release(client),
            (What::Pause(pause), _) if !self.healed => {
                self.checks.marks.fault("T03");
                self.checks.stands_still(self.now, *pause);
                self.now = self.now.saturating_add(*pause);
                Ok(())
            }
            // The driver has no wall clock to hand on.
            (What::WallClock(_), _) if self.options.host != Host::Played => Ok(()),
            (What::WallClock(step), _) => {
                self.checks.marks.fault("T01");
                self.wall_clock = self.wall_clock.saturating_add_signed(step.saturating_mul(1000));
                (self.ahead, self.is_steady) = (self.ahead.max(self.wall_clock), false);
                self.handle(Input::WallClock(self.wall_clock.saturating_add(self.now)))
            }
            (What::Hostile(hostile), _) => self.hostile(client, hostile),
            (What::StopReading, Some(link)) if !self.healed => {
                self.set_reading(link, false);
                Ok(())
            }
            (What::Read, Some(link)) => {
                self.set_reading(link, true);
                Ok(())
            }
            (What::Bytes(bytes), Some(link)) => {
                self.checks.marks.hit("bytes that mean nothing");
                self.checks.hostile(link);
                self.send_up(link, bytes);
                Ok(())
            }
            (What::Kick { end_session }, _) => {
                let client_id = self.spec(client).id.clone();
                let (reason, end_session) = (ReasonCode::AdministrativeAction, *end_session);
                self.handle(Input::Command(Command::Disconnect { client_id, reason, end_session }))
            }
            (What::SetPermissions(permissions), _) => {
                self.checks.marks.fault("H04");
                self.set_permissions(client, permissions.clone())
            }
            (What::SubscribeFor(filter), _) => {
                let client_id = self.known_as(client);
                let (options, filter) = (options_of(filter), filter.filter.clone());
                let subscription_id = None;
                self.handle(Input::Command(Command::Subscribe {
                    client_id,
                    filter,
                    options,
                    subscription_id,
                }))
            }
            (What::UnsubscribeFor(filter), _) => {
                let (client_id, filter) = (self.known_as(client), filter.clone());
                self.handle(Input::Command(Command::Unsubscribe { client_id, filter }))
            }
            (What::Announce(message), _) => {
                // It is nobody's.
                let number = self.checks.ledger.message("", message);
                self.handle(Input::Command(Command::Publish(application_message(number, message))))
            }
            _ => Ok(()),
        }
    }

    /// The identifier under which an operator knows a client. One that the broker gave is known when the client has heard it.
    fn known_as(&self, client: usize) -> String {
        let own = &self.spec(client).id;
        let is_told = self.spec(client).version == 5 && self.players[client].is_online();
        let is_known = !own.is_empty() || is_told;
        if is_known { self.identifier(client).to_owned() } else { String::new() }
    }

    /// From now on a client may so much, if it has a session.
    pub(super) fn set_permissions(
        &mut self,
        client: usize,
        permissions: Option<Permissions>,
    ) -> Result<(), Violation> {
        let client_id = self.known_as(client);
        self.handle(Input::Command(Command::SetPermissions { client_id, permissions }))
    }
}
