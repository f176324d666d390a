//! The charter (R43): everybody acknowledges it for himself, under the version that the policy has in force.

use std::sync::Arc;

use super::{Allowed, clashes};
use crate::core::event::{CharterAcknowledged, Detail, Draft, Event};
use crate::core::ids::RuleId;
use crate::core::policy::{DenialKind, Verb, refuse_caller};
use crate::core::refusal::Refusal;
use crate::core::register::judge::denied;
use crate::daemon::ledger::Desk;
use crate::daemon::person::Person;
use crate::daemon::service::Service;

impl Service {
    pub(super) async fn acknowledge_charter(
        self: &Arc<Self>,
        person: Person,
        typed: String,
    ) -> Result<(String, u64), Refusal> {
        // What was typed stays out of the leaf: only the version of the policy enters it.
        let said = Detail { asked: Some(super::shortened(&typed)), ..Detail::default() };
        let nothing = CharterAcknowledged { version: "".into(), replaces: None };
        let bare = Draft::fact(Event::CharterAcknowledged(nothing)).with_detail(said);
        let judge = move |desk: &mut Desk<'_>, person: &Person| {
            if let Some(denial) = refuse_caller(desk.house, &person.principal) {
                return Err(denial);
            }
            let Some(charter) = desk.policy.charter() else {
                return Err(clashes("charter", "the policy has no charter to acknowledge"));
            };
            if charter.version.as_str() != typed {
                let why =
                    format!("version: the charter in force is version {}; read that one", charter.version);
                return Err(denied("charter", DenialKind::InvalidArgument("version"), &why));
            }
            let (uid, user) = (person.who.uid, person.who.user.as_deref());
            let replaces = desk.told.acknowledgement(desk.state, uid, user);
            let said = CharterAcknowledged { version: charter.version.as_str().into(), replaces };
            let draft = Draft::fact(Event::CharterAcknowledged(said))
                .with_detail(person.detail(&RuleId::builtin("own")));
            Ok(Allowed { draft, permit: None, value: charter.version.to_string() })
        };
        let (version, entry) = self.record_judged(person, Verb::View, bare, judge).await?;
        Ok((version, entry))
    }
}
