//! Rollback detection: an anchor outside the store says how far it once was. A store that lies
//! behind its anchor, or has something else at the anchored place, was restored from an older
//! backup (or is another one). Then numbers would be given twice, so everything that bills refuses
//! until somebody acknowledges it.
//!
//! The anchor is read before the store and written after it, so it never claims more than was
//! committed; an anchor that lags behind is as good, it only notices less.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use counterfoil_ledger::LaneId;
use counterfoil_store::{Anchor, AnchorStore, Commit, Fact, LaneAnchor, StoreError, Write};
use counterfoil_types::{CanonicalWriter, Digest};
use serde::Serialize;

use crate::{Engine, EngineError, archive::Beside, project::CHUNK, verify::VerifyReport};

/// How the store stands to its anchor.
#[derive(Clone, Debug, Serialize)]
pub struct AnchorCheck {
    /// Where the anchor is kept.
    pub place: String,
    /// The anchor; `None` when none was written yet.
    #[serde(skip)]
    pub anchor: Option<Anchor>,
    /// In which ways the store is not the one that was anchored, in words.
    pub findings: Vec<String>,
}

/// Whether a commit gives out numbers or moves money.
fn bills(commit: &Commit) -> bool {
    commit.writes.iter().any(|write| {
        matches!(
            write,
            Write::Finalize { .. }
                | Write::Issue { .. }
                | Write::Post(_)
                | Write::MoveInvoice { .. }
        )
    })
}

fn digest_of(fact: &Fact) -> Digest {
    let mut writer = CanonicalWriter::new("fact", 1);
    writer.str(&fact.kind).str(&fact.key).i64(fact.at.micros()).str(&fact.body.to_string());
    writer.digest()
}

impl Engine {
    /// Holds the store against this anchor before it bills, and moves the anchor on after it did.
    #[must_use]
    pub fn with_anchor(mut self, anchor: Arc<dyn AnchorStore>) -> Self {
        self.beside = Arc::new(Beside::new(self.beside.any_files(), Some(anchor)));
        self
    }

    /// The one door of the engine for commits: a store that was rolled back bills nothing, and the
    /// first commit made for a request takes its origin along.
    ///
    /// # Errors
    /// As [`counterfoil_store::Store::commit`]; [`StoreError::RolledBack`].
    pub async fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if bills(commit) {
            self.refuse_rollback().await?;
        }
        let origin = self.origin.as_ref().filter(|origin| !origin.took_effect());
        let fence = self.fence.as_ref().filter(|_| commit.fence.is_none());
        if origin.is_none() && fence.is_none() {
            self.store.commit(&self.tenant.id, commit).await?;
        } else {
            let mut whole = commit.clone();
            whole.fence = fence.cloned().or(whole.fence);
            whole.writes.extend(origin.into_iter().flat_map(|origin| origin.writes()));
            self.store.commit(&self.tenant.id, &whole).await?;
            if let Some(origin) = origin {
                origin.has_taken_effect();
            }
        }
        self.memory.forget_after(commit);
        Ok(())
    }

    async fn refuse_rollback(&self) -> Result<(), StoreError> {
        // Looked at once: nobody exchanges a database under a program that is connected to it.
        if self.beside.agrees.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.may_bill().await {
            Ok(()) => {
                self.beside.agrees.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(EngineError::Store(error)) => Err(error),
            Err(other) => Err(StoreError::RolledBack(other.to_string())),
        }
    }

    /// Refuses when the store was rolled back and nobody acknowledged it.
    ///
    /// # Errors
    /// [`StoreError::RolledBack`].
    pub async fn may_bill(&self) -> Result<(), EngineError> {
        match self.check_anchor().await? {
            Some(check) if !check.findings.is_empty() => {
                Err(StoreError::RolledBack(check.findings.join("; ")).into())
            }
            _ => Ok(()),
        }
    }

    /// Compares the store with its anchor: lane heads, the seals there, and the journal. `None`
    /// when no anchor is configured.
    ///
    /// # Errors
    /// When the anchor cannot be read, or as the store has them.
    pub async fn check_anchor(&self) -> Result<Option<AnchorCheck>, EngineError> {
        let Some(store) = &self.beside.anchor else { return Ok(None) };
        let mut check =
            AnchorCheck { place: store.place(), anchor: store.read()?, findings: Vec::new() };
        let Some(anchor) = &check.anchor else { return Ok(Some(check)) };
        let findings = &mut check.findings;
        if anchor.tenant != self.tenant.id {
            findings.push(format!("the anchor is of tenant {}", anchor.tenant));
        }
        let heads: BTreeMap<i64, u64> = self
            .store
            .heads(&self.tenant)
            .await?
            .into_iter()
            .map(|head| (head.lane.0, head.position))
            .collect();
        for (lane, anchored) in &anchor.lanes {
            let head = heads.get(lane).copied().unwrap_or(0);
            if head < anchored.position {
                findings.push(format!(
                    "lane {lane} ends at position {head}, and was at {} before",
                    anchored.position
                ));
            } else if self.leaf_at(LaneId(*lane), anchored.position).await? != anchored.leaf {
                findings.push(format!(
                    "lane {lane} position {} is another row than before",
                    anchored.position
                ));
            }
        }
        if anchor.journal > 0 {
            let fact = self.store.facts(&self.tenant.id, anchor.journal - 1, 1).await?.pop();
            let found = fact.map(|fact| digest_of(&fact.fact));
            if found.is_none() {
                let last: Vec<&str> = anchor.series.values().map(String::as_str).collect();
                findings.push(format!(
                    "the journal ends before fact {} (the last numbers given were {})",
                    anchor.journal,
                    if last.is_empty() { "none".to_owned() } else { last.join(", ") }
                ));
            } else if found != anchor.fact {
                findings.push(format!("fact {} of the journal is another one", anchor.journal));
            }
        }
        Ok(Some(check))
    }

    async fn leaf_at(&self, lane: LaneId, position: u64) -> Result<Option<Digest>, EngineError> {
        let Some(before) = position.checked_sub(1) else { return Ok(None) };
        let seal = self.store.seals(lane, before, position, 1).await?.pop();
        Ok(seal.map(|seal| seal.leaf))
    }

    /// Moves the anchor on to where the store stands; with `trees`, its tree heads as well, which
    /// reads the seals that are new since. A store that was rolled back leaves it as it is.
    ///
    /// # Errors
    /// When the anchor cannot be read or written, or as the store has them.
    pub async fn take_anchor(&self, trees: bool) -> Result<(), EngineError> {
        let Some(check) = self.check_anchor().await? else { return Ok(()) };
        if check.findings.is_empty() {
            self.write_anchor(check.anchor, trees).await?;
        }
        Ok(())
    }

    async fn write_anchor(&self, earlier: Option<Anchor>, trees: bool) -> Result<(), EngineError> {
        let Some(store) = &self.beside.anchor else { return Ok(()) };
        let mut anchor = earlier.unwrap_or_else(|| Anchor {
            tenant: self.tenant.id.clone(),
            at: self.now(),
            lanes: BTreeMap::new(),
            journal: 0,
            fact: None,
            series: BTreeMap::new(),
        });
        anchor.at = self.now();
        for head in self.store.heads(&self.tenant).await? {
            let known = anchor.lanes.remove(&head.lane.0).map(|lane| lane.tree);
            let mut lane = LaneAnchor {
                position: head.position,
                leaf: self.leaf_at(head.lane, head.position).await?,
                tree: known.unwrap_or_default(),
            };
            while trees && lane.tree.size() < head.position {
                let at = lane.tree.size();
                let page = self.store.seals(head.lane, at, head.position, CHUNK).await?;
                if page.is_empty() {
                    break;
                }
                page.iter().for_each(|seal| lane.tree.push(seal.leaf));
            }
            anchor.lanes.insert(head.lane.0, lane);
        }
        loop {
            let page = self.store.facts(&self.tenant.id, anchor.journal, CHUNK).await?;
            let Some(last) = page.last() else { break };
            anchor.journal = last.position;
            anchor.fact = Some(digest_of(&last.fact));
            for fact in &page {
                let number = fact.fact.body.get("number").and_then(serde_json::Value::as_str);
                if let Some((series, _)) = number.and_then(|number| number.rsplit_once('-')) {
                    let number = number.unwrap_or_default().to_owned();
                    anchor.series.insert(series.to_owned(), number);
                }
            }
        }
        Ok(store.write(&anchor)?)
    }

    /// Holds the store against its anchor, tree heads included.
    pub(crate) async fn verify_anchor(&self, report: &mut VerifyReport) -> Result<(), EngineError> {
        let check = match self.check_anchor().await {
            Ok(Some(check)) => check,
            Ok(None) => return Ok(()),
            Err(EngineError::File(error)) => {
                report.problems.push(format!("anchor: {error}"));
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let rolled_back = check.findings.iter().map(|finding| format!("rolled back: {finding}"));
        report.problems.extend(rolled_back);
        let Some(anchor) = check.anchor.filter(|_| check.findings.is_empty()) else {
            return Ok(());
        };
        for (lane, anchored) in anchor.lanes {
            let mut tree = counterfoil_ledger::Tree::default();
            while tree.size() < anchored.tree.size() {
                let (at, upto) = (tree.size(), anchored.tree.size());
                let page = self.store.seals(LaneId(lane), at, upto, CHUNK).await?;
                if page.is_empty() {
                    break;
                }
                page.iter().for_each(|seal| tree.push(seal.leaf));
            }
            if tree != anchored.tree {
                report.problems.push(format!(
                    "rewritten: the first {} rows of lane {lane} are not those that were anchored",
                    anchored.tree.size()
                ));
            }
        }
        Ok(())
    }

    /// Records that somebody looked at a rollback and decided to go on, and anchors the store as
    /// it is now. Gives what was acknowledged.
    ///
    /// # Errors
    /// When nothing is to be acknowledged, no reason is given, or as the store has them.
    pub async fn acknowledge_rollback(
        &self,
        reason: &str,
        by: &str,
    ) -> Result<Vec<String>, EngineError> {
        if reason.trim().is_empty() {
            return Err(EngineError::refused("say why with --reason"));
        }
        let Some(store) = &self.beside.anchor else {
            return Err(EngineError::refused("no anchor is configured"));
        };
        let (findings, anchor) = match self.check_anchor().await {
            Ok(check) => {
                let check = check.map(|check| (check.findings, check.anchor));
                check.unwrap_or_default()
            }
            // An anchor that cannot be read is a finding, too.
            Err(EngineError::File(error)) => (vec![error.to_string()], None),
            Err(other) => return Err(other),
        };
        if findings.is_empty() {
            return Err(EngineError::refused(format!(
                "nothing is to be acknowledged: the store agrees with its anchor ({})",
                store.place()
            )));
        }
        let now = self.now();
        let body = serde_json::json!({
            "reason": reason, "by": by, "findings": findings, "anchor": anchor,
        });
        let key = format!("recovery.acknowledged/{}", Digest::of(body.to_string().as_bytes()));
        let commit = Commit::default().fact("recovery.acknowledged", key, now, body);
        self.store.commit(&self.tenant.id, &commit).await?;
        self.write_anchor(None, true).await?;
        Ok(findings)
    }
}
