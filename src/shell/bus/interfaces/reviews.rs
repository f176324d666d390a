//! `org.greffier.Archive1.Reviews`.

use zbus::message::Header;

use super::super::archive::Archive;
use super::super::wire::{self, BusError, Dict};
use super::Desk;

/// What a person must look at who had no part in it.
pub struct ReviewsInterface<A>(pub Desk<A>);

#[zbus::interface(name = "org.greffier.Archive1.Reviews")]
impl<A: Archive> ReviewsInterface<A> {
    /// Every open review, oldest first: rows of `entry t` (the entry that raised it), `why s` (`emergency`), `raised s`, `due s`
    /// and, where it is about one, `recording s` and `session s`. For reviewers. It is an entry.
    #[zbus(out_args("rows"))]
    async fn pending(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Dict>, BusError> {
        let rows =
            self.0.run(&header, |archive, caller| async move { archive.reviews(caller).await }).await?;
        Ok(rows.into_iter().map(wire::review_row).collect())
    }

    /// Ends the review that `review` raised, and returns the entry. Request: `text s` (required), what was found. For reviewers, never
    /// for the person whose act it is about.
    #[zbus(out_args("entry"))]
    async fn done(
        &self,
        #[zbus(header)] header: Header<'_>,
        review: u64,
        request: Dict,
    ) -> Result<u64, BusError> {
        let review = wire::entry(review)?;
        let text = wire::review_request(request)?;
        self.0
            .run(&header, |archive, caller| async move { archive.review_done(caller, review, text).await })
            .await
    }
}
