//! The one door for writes: a list of facts and changes that take effect together.
//!
//! Every [`Write`] is idempotent: repeating a commit whose outcome was unknown changes nothing
//! more. What a write may not do (replace a finalized invoice, change a published book) is refused
//! by the backend with [`crate::StoreError::Conflict`], whatever the caller believes.

use counterfoil_invoicing::{Customer, Invoice, InvoiceState, Run, RunItem, Subscription};
use counterfoil_types::{Digest, InvoiceId, Timestamp};

use crate::{
    access::{ApiKey, AuditEntry},
    alert::{Alert, AlertState},
    catalog::{BookRow, MeterRow},
    document::{Document, Posting},
    job::{JobItem, JobPause, JobRun},
    journal::Fact,
    lease::Fence,
};

/// One change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates or replaces a customer.
    PutCustomer(Customer),
    /// Creates or replaces a subscription.
    PutSubscription(Subscription),
    /// Publishes a price book. The same version with another hash is a conflict.
    PublishBook(BookRow),
    /// Registers a meter. The same key with another definition is a conflict.
    RegisterMeter(MeterRow),
    /// Creates a run; one with the same id stays as it is.
    CreateRun(Run),
    /// Replaces a run's state and fills in its approval and times. A run never goes back, and a
    /// sign-off stays with who gave it first.
    UpdateRun(Run),
    /// Creates or replaces items of a run. A finalized item stays as it is.
    PutRunItems(Vec<RunItem>),
    /// Creates or replaces a draft. A finalized invoice under its id is a conflict.
    PutDraft(Box<Invoice>),
    /// Removes a draft that is not to be billed; a finalized invoice is a conflict.
    DropDraft(InvoiceId),
    /// Gives a draft the next number of its series and makes it pending, or paid when nothing is
    /// owed. One that is finalized
    /// already stays as it is. The fact `invoice.finalized` and the outbox row `invoice.issued`
    /// are recorded with it.
    Finalize {
        /// The draft.
        invoice: InvoiceId,
        /// Prefix of the number, for example `INV-2026-`.
        series: String,
        /// When.
        at: Timestamp,
        /// When it must be paid.
        due_at: Timestamp,
    },
    /// Moves a finalized invoice on. One that is there already stays; one that may not go there
    /// from where it is, is a conflict.
    MoveInvoice {
        /// The invoice.
        invoice: InvoiceId,
        /// Where it goes.
        to: InvoiceState,
    },
    /// Issues a document, with the next number of `series` where one is given. The same id with
    /// other content is a conflict.
    Issue {
        /// The document; its number is ignored.
        document: Document,
        /// Prefix of the number, for example `CN-2026-`.
        series: Option<String>,
    },
    /// Moves accounts, in order. A posting whose key is known stays as it is, if it says the same;
    /// an account that would go below zero, or does not stand where the caller saw it, is a
    /// conflict.
    Post(Vec<Posting>),
    /// Queues an effect to be delivered. One that is queued already stays as it is.
    Queue {
        /// Its key: an effect is queued once.
        key: String,
        /// What is to be told, for example `credit_note.issued`.
        kind: String,
        /// What it says, as JSON.
        body: serde_json::Value,
        /// When it was caused.
        at: Timestamp,
    },
    /// Creates an API key, or changes until when it is accepted and when it was last used. The
    /// same id with another secret, customer or scopes is a conflict; it is never revoked
    /// later than it was.
    PutKey(ApiKey),
    /// Claims a request. The same key with another fingerprint is a conflict.
    Claim {
        /// The key the caller gave.
        key: String,
        /// SHA-256 over what was asked.
        fingerprint: Digest,
        /// When.
        at: Timestamp,
    },
    /// Keeps the answer of a claimed request; the first one stays.
    Answer {
        /// The key of the claim.
        key: String,
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
    },
    /// Forgets claims made before a time, and keys of single customers that expired before it.
    Forget {
        /// The time.
        before: Timestamp,
    },
    /// Writes down how far a job's schedule was looked at, and makes runs for the times found.
    /// One that is there already stays as it is.
    ScheduleJob {
        /// The job.
        job: String,
        /// How far.
        through: Timestamp,
        /// The times it is due.
        times: Vec<Timestamp>,
        /// Whether a run that is still open stands for these, too: then none is made.
        collapse: bool,
    },
    /// Lets a job rest, or go on.
    PauseJob {
        /// The job.
        job: String,
        /// Why it rests; `None`: it goes on.
        pause: Option<JobPause>,
    },
    /// Creates or replaces a run of a job. One that is done stays as it is.
    PutJobRun(Box<JobRun>),
    /// Creates or replaces an item that failed.
    PutJobItem(JobItem),
    /// Forgets that an item failed.
    DropJobItem {
        /// The job.
        job: String,
        /// The item.
        item: String,
    },
    /// Forgets runs of jobs that were done before a time.
    ForgetJobRuns {
        /// The time.
        before: Timestamp,
    },
    /// Adds to the audit log.
    Audit(AuditEntry),
    /// Fires alerts. One that fired already stays as it is if the same effect tells of it; if
    /// another does, or none, it is a conflict.
    FireAlerts(Vec<Alert>),
    /// An effect tells of alerts that none told of. One that another tells of is a conflict.
    TellAlerts {
        /// The alerts.
        alerts: Vec<String>,
        /// Key of the effect.
        effect: String,
    },
    /// Moves an alert. One that does not exist, or is resolved, is a conflict, unless it is there
    /// already.
    MoveAlert {
        /// The alert.
        alert: String,
        /// Where it goes.
        to: AlertState,
        /// Until when it is snoozed.
        until: Option<Timestamp>,
        /// Who does it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Resolves alerts whose windows ended by a time, but for those that wait to be told of.
    ResolveAlerts {
        /// The time.
        by: Timestamp,
    },
    /// Sets or removes a setting.
    Set {
        /// Its key.
        key: String,
        /// Its value; `None` removes it.
        value: Option<String>,
    },
}

/// Facts and changes that take effect together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The facts.
    pub facts: Vec<Fact>,
    /// The changes, made in order.
    pub writes: Vec<Write>,
    /// A lease that must still be held for any of it to take effect.
    pub fence: Option<Fence>,
}

impl Commit {
    /// A commit with one change.
    #[must_use]
    pub fn of(write: Write) -> Self {
        Self { writes: vec![write], ..Self::default() }
    }

    /// Makes all of it depend on a lease.
    #[must_use]
    pub fn fenced(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// Adds a fact that somebody outside is to be told: the effect is queued with it.
    #[must_use]
    pub fn told(mut self, kind: &str, key: String, at: Timestamp, body: serde_json::Value) -> Self {
        self.writes.push(Write::Queue {
            key: key.clone(),
            kind: kind.to_owned(),
            body: body.clone(),
            at,
        });
        self.fact(kind, key, at, body)
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, kind: &str, key: String, at: Timestamp, body: serde_json::Value) -> Self {
        self.facts.push(Fact { kind: kind.to_owned(), key, at, body });
        self
    }
}
