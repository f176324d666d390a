//! Whether a recording is the caller's own, for the rules that ask (R30): looked up before the writer's turn, because the catalogue
//! lies on the disk. Whose a recording is never changes, so what was found is as good at the turn.
//!
//! Must never guess: where the catalogue cannot tell, nothing is said, and that counts against the caller.

use std::sync::Arc;

use super::person::Person;
use super::reauth::About;
use super::service::Service;
use super::sessions::Live;
use crate::core::ids::{RecordingId, SessionId};
use crate::core::policy::UserName;
use crate::core::refusal::Refusal;

impl Service {
    /// The person, with whether what the call is about is his own.
    pub(super) async fn knowing_whose(
        self: &Arc<Self>,
        person: Person,
        about: &About,
    ) -> Result<Person, Refusal> {
        if !self.policy_in_force().asks_whose() {
            return Ok(person);
        }
        let id = match about {
            // One that does not exist is looked up like one that does: neither answers sooner.
            About::Recording(typed) => typed.parse().ok(),
            About::Hold(hold) => {
                let hold = *hold;
                self.ledger.look(move |desk| desk.state.holds().get(&hold).map(|it| it.recording)).await?
            }
            About::Nothing | About::Source(_) => None,
        };
        let Some(id) = id else { return Ok(person) };
        let own = self.is_own(id, person.principal.user.clone()).await;
        Ok(Person { own: own.map(|own| (id, own)), ..person })
    }

    async fn is_own(self: &Arc<Self>, id: RecordingId, user: Option<UserName>) -> Option<bool> {
        let user = user?;
        // One that was sealed a moment ago may not be in yet.
        self.catalogue.wait_for(self.ledger.head().size).await;
        let service = self.clone();
        let found = tokio::task::spawn_blocking(move || service.catalogue.is_own(id, user.as_str()));
        found.await.ok().flatten()
    }

    /// Learns it of running sessions that were opened when no rule asked.
    pub(super) async fn learn_whose(self: &Arc<Self>) {
        if !self.policy_in_force().asks_whose() {
            return;
        }
        let unknown = |live: &Live| live.own.is_none();
        for session in self.sessions.which(unknown) {
            self.learn_whose_one(session).await;
        }
    }

    async fn learn_whose_one(self: &Arc<Self>, session: SessionId) {
        let Some(live) = self.sessions.get(&session) else { return };
        let own = self.is_own(live.recording, live.request.who.user.clone()).await;
        if let Some(live) = self.sessions.table().get_mut(&session) {
            live.own = own;
        }
    }
}
