//! What a pass may still read and write today, where the definition bounds that (`daily_bytes`).
//!
//! What was spent is kept in the ledger, each hundredth of the limit and at the end of a pass: a
//! daemon that is restarted, or killed, goes on counting.

use chrono::Utc;

use super::{Context, Error, Side};
use crate::definition::{Account, Mailbox};
use crate::flow::{Budget, Spending};
use crate::ledger;

/// What both accounts of a mailbox may still give and take.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    source: Share,
    destination: Share,
}

#[derive(Debug, Clone, Default)]
struct Share {
    /// Under this name it is kept.
    name: String,
    budget: Budget,
}

impl Allowance {
    /// Remembers what was spent.
    pub(crate) async fn of(context: &Context, mailbox: &Mailbox) -> Result<Self, ledger::Error> {
        Ok(Self {
            source: share(context, "down", &mailbox.source).await?,
            destination: share(context, "up", &mailbox.destination).await?,
        })
    }

    /// Bytes that the source gave.
    pub(crate) fn read(&self, bytes: u64) {
        self.source.budget.spend(bytes, Utc::now());
    }

    /// Bytes that the destination is given.
    pub(crate) fn written(&self, bytes: u64) {
        self.destination.budget.spend(bytes, Utc::now());
    }

    /// Why no more may be copied now, if it may not.
    pub(crate) fn spent(&self) -> Option<Error> {
        let now = Utc::now();
        let of = |side, share: &Share| {
            let (limit, until) = share.budget.spent(now)?;
            let wait = (until - now).to_std().unwrap_or_default();
            Some(Error::DayBudget { side, limit, until, wait })
        };
        of(Side::Source, &self.source).or_else(|| of(Side::Destination, &self.destination))
    }

    /// Keeps what was spent, if it is worth it or it is the end.
    pub(crate) async fn keep(&self, context: &Context, all: bool) -> Result<(), ledger::Error> {
        for Share { name, budget } in [&self.source, &self.destination] {
            let Some(spending) = budget.to_keep(all, Utc::now()) else { continue };
            // Numbers in a list can always be written.
            let spending = serde_json::to_vec(&spending).unwrap_or_default();
            context.ledger.put_note(name, &spending).await?;
        }
        Ok(())
    }
}

async fn share(context: &Context, way: &str, account: &Account) -> Result<Share, ledger::Error> {
    let Some(limit) = account.endpoint.daily_bytes else { return Ok(Share::default()) };
    let name = format!("day-budget/{way}/{}", account.same_as_key());
    let budget = match context.budgets.known(&name, limit) {
        Some(budget) => budget,
        None => {
            let kept = context.ledger.note(&name).await?;
            let kept = kept.and_then(|kept| serde_json::from_slice::<Spending>(&kept).ok());
            context.budgets.learn(&name, limit, kept.unwrap_or_default())
        }
    };
    Ok(Share { name, budget })
}
