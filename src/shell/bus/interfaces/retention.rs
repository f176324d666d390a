//! `org.greffier.Archive1.Retention` and `…Hold`.

use zbus::message::Header;
use zbus::wire::OwnedObjectPath;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::{Desk, ROOT};
use crate::core::ids::HoldId;
use crate::core::refusal::Refusal;

/// The purge plan, its run, holds.
pub struct RetentionInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Retention")]
impl<A: Archive> RetentionInterface<A> {
    /// What a run would do now: rows of `recording s`, `action s` (`purge`, `keep`, `held`), `due s`, `why s`.
    #[zbus(out_args("rows"))]
    async fn plan(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dict>, BusError> {
        let rows = self.0.run(&header, |archive, caller| async move { archive.plan(caller).await }).await?;
        Ok(rows.into_iter().map(wire::plan_row).collect())
    }

    /// What happens to the details of the ledger: rows of `first t`, `end t`, `details t`, `action s` (`destroy`, `keep`),
    /// `why s` and, where it can be said, `due s`.
    #[zbus(out_args("rows"))]
    async fn plan_details(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dict>, BusError> {
        let rows =
            self.0.run(&header, |archive, caller| async move { archive.plan_details(caller).await }).await?;
        Ok(rows.into_iter().map(wire::detail_plan_row).collect())
    }

    /// Destroys what is due, and returns `purged t`, `held t`, `failed t` and, when nothing may be purged, `blocked s`.
    #[zbus(out_args("report"))]
    async fn run(&self, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let report = self.0.run(&header, |archive, caller| async move { archive.run(caller).await }).await?;
        Ok(wire::run_report(report))
    }

    /// Trusts the wall clock again after a jump. For administrators.
    async fn confirm_clock(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        self.0.run(&header, |archive, caller| async move { archive.confirm_clock(caller).await }).await
    }

    /// Stops the purge of a recording and returns the object of the hold. Request: `recording s`, `kind s` (`judicial`,
    /// `incident`, `request`, `restriction`), `ground s` (all three required), `reference s`, `review s`.
    #[zbus(out_args("hold"))]
    async fn hold(
        &self,
        #[zbus(header)] header: Header<'_>,
        request: Dict,
    ) -> Result<OwnedObjectPath, BusError> {
        let request = wire::hold_request(request)?;
        let hold =
            self.0.run(&header, |archive, caller| async move { archive.hold(caller, request).await }).await?;
        Ok(hold_path(&hold)?)
    }
}

/// One hold.
pub struct HoldInterface<A> {
    desk: Desk<A>,
    id: HoldId,
}

impl<A: Archive> HoldInterface<A> {
    /// The object of hold `id`.
    pub fn new(desk: Desk<A>, id: HoldId) -> Self {
        Self { desk, id }
    }
}

#[zbus::interface(name = "org.greffier.Archive1.Hold")]
impl<A: Archive> HoldInterface<A> {
    /// Ends the hold. Request: `ground s`.
    async fn lift(&self, #[zbus(header)] header: Header<'_>, request: Dict) -> Result<(), BusError> {
        let ground = wire::lift_request(request)?;
        let id = self.id;
        self.desk.run(&header, |archive, caller| async move { archive.lift(caller, id, ground).await }).await
    }
}

/// Where a hold stands on the bus.
pub fn hold_path(id: &HoldId) -> Result<OwnedObjectPath, Refusal> {
    OwnedObjectPath::try_from(format!("{ROOT}/hold/{id}")).map_err(|_| Refusal::internal())
}
