//! The usage behind the lines of a cycle: read once for each stretch, split by windows of the day
//! where prices want it, and lightened by what grants cover.

use std::collections::{BTreeMap, HashSet};

use counterfoil_invoicing::{GrantUse, UnitGrant};
use counterfoil_metering::{Aggregation, Meter};
use counterfoil_rating::{Cell, Model, Usage, model::time_of_day::in_window};
use counterfoil_types::{Exact, Period, Quantity};

use super::{Account, As, expected::Scope};
use crate::{
    Books, Engine, EngineError,
    contract::Span,
    usage::{CustomerUsage, Request},
};

/// Usage for rating.
pub(crate) struct SpanUsage {
    /// For each span; `None` for fees.
    pub(crate) by_span: Vec<Option<Metered>>,
    /// Units taken from grants.
    pub(crate) granted: Vec<GrantUse>,
    /// Ledger rows up to here were looked at.
    pub(crate) position: u64,
}

/// Usage of one span.
pub(crate) struct Metered {
    /// What is rated: the meter's value without what grants cover.
    pub(crate) usage: Usage,
    /// The meter's value.
    pub(crate) value: Exact,
}

impl Engine {
    /// Usage of each span; `None` when the projector moved.
    pub(crate) async fn span_usage(
        &self,
        books: &Books,
        account: &Account,
        spans: &[Span],
        scope: &Scope,
        at: As<'_>,
    ) -> Result<Option<SpanUsage>, EngineError> {
        let mut read: BTreeMap<Period, CustomerUsage> = BTreeMap::new();
        let mut periods: Vec<Period> = spans
            .iter()
            .filter(|span| span.charge().is_some_and(|charge| charge.is_metered()))
            .map(|span| span.period)
            .collect();
        periods.sort_unstable();
        periods.dedup();
        for period in periods {
            let mut meters: Vec<&Meter> = Vec::new();
            let mut transactions = HashSet::new();
            for charge in spans.iter().filter(|span| span.period == period).filter_map(Span::charge)
            {
                let Some(meter) = meter_of(books, charge.meter.as_ref())? else { continue };
                if !meters.iter().any(|known| known.key == meter.key) {
                    meters.push(meter);
                }
                if matches!(&charge.model, Model::Percentage(model) if model.needs_transactions()) {
                    transactions.insert(meter.key.clone());
                }
            }
            let customer = &account.customer.id;
            let request = Request { customer, period, meters, transactions };
            match self.request(&request, at).await? {
                Some(usage) => read.insert(period, usage),
                None => return Ok(None),
            };
        }
        let mut grants = scope.grants.clone();
        let mut done =
            SpanUsage { by_span: Vec::new(), granted: Vec::new(), position: at.position() };
        for span in spans {
            let Some(charge) = span.charge().filter(|charge| charge.is_metered()) else {
                done.by_span.push(None);
                continue;
            };
            let (Some(meter), Some(usage)) =
                (meter_of(books, charge.meter.as_ref())?, read.get(&span.period))
            else {
                done.by_span.push(None);
                continue;
            };
            let mut metered = usage.for_rating(meter, &span.plan.matrix_dimensions(charge))?;
            let value = metered.units.clone();
            if let Model::TimeOfDay(model) = &charge.model {
                let zone = account.cycles.zone_at(span.period.start);
                let mut cells: BTreeMap<String, Exact> = BTreeMap::new();
                for (piece, label) in model.cuts(&span.period, &zone)? {
                    let Some(units) = self.units_in(account, meter, piece, at).await? else {
                        return Ok(None);
                    };
                    let cell = cells.entry(label).or_insert(Exact::ZERO);
                    *cell = cell.add(&units);
                }
                metered.cells = cells
                    .into_iter()
                    .map(|(label, units)| Cell { dimensions: in_window(&label), units })
                    .collect();
            } else {
                let covered = self.granted(account, meter, span.period, &mut grants, at).await?;
                let Some(covered) = covered else { return Ok(None) };
                for (grant, units) in covered {
                    metered.units = metered.units.sub(&units);
                    let units = Quantity::try_from(&units)?;
                    done.granted.push(GrantUse { grant, meter: meter.key.clone(), units });
                }
            }
            done.by_span.push(Some(Metered { usage: metered, value }));
        }
        Ok(Some(done))
    }

    async fn request(
        &self,
        request: &Request<'_>,
        at: As<'_>,
    ) -> Result<Option<CustomerUsage>, EngineError> {
        match at {
            As::Of(view) => self.read_at(request, view).await,
            As::Rebuilt(position) => Ok(Some(self.fold_usage(request, position).await?)),
        }
    }

    async fn units_in(
        &self,
        account: &Account,
        meter: &Meter,
        period: Period,
        at: As<'_>,
    ) -> Result<Option<Exact>, EngineError> {
        let request = Request {
            customer: &account.customer.id,
            period,
            meters: vec![meter],
            transactions: HashSet::new(),
        };
        match self.request(&request, at).await? {
            Some(usage) => Ok(Some(usage.total(meter)?)),
            None => Ok(None),
        }
    }

    /// What grants cover of a meter's usage in `period`: `grants` stand in order of use and shrink.
    /// Time is cut where a grant begins or expires; within a piece only the sum matters, so the
    /// answer is the one a burn event by event would give.
    async fn granted(
        &self,
        account: &Account,
        meter: &Meter,
        period: Period,
        grants: &mut [UnitGrant],
        at: As<'_>,
    ) -> Result<Option<Vec<(String, Exact)>>, EngineError> {
        let additive = matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count);
        let open = |grant: &UnitGrant| {
            grant.meter == meter.key
                && !grant.left.is_zero()
                && grant.from < period.end
                && grant.expires.is_none_or(|expires| period.start < expires)
        };
        if !additive || !grants.iter().any(open) {
            return Ok(Some(Vec::new()));
        }
        let mut cuts: Vec<_> = grants
            .iter()
            .filter(|grant| open(grant))
            .flat_map(|grant| [Some(grant.from), grant.expires])
            .flatten()
            .filter(|cut| period.start < *cut && *cut < period.end)
            .collect();
        cuts.push(period.end);
        cuts.sort_unstable();
        cuts.dedup();
        let mut from = period.start;
        let mut covered: BTreeMap<String, Exact> = BTreeMap::new();
        for to in cuts {
            let piece = Period::new(from, to);
            from = to;
            let Some(mut left) = self.units_in(account, meter, piece, at).await? else {
                return Ok(None);
            };
            for grant in grants.iter_mut().filter(|grant| grant.meter == meter.key) {
                let active = grant.from <= piece.start
                    && grant.expires.is_none_or(|expires| piece.start < expires);
                let taken = left.at_most(&grant.left.exact());
                if !active || !taken.is_positive() {
                    continue;
                }
                left = left.sub(&taken);
                grant.left = Quantity::try_from(&grant.left.exact().sub(&taken))?;
                let sum = covered.entry(grant.grant.clone()).or_insert(Exact::ZERO);
                *sum = sum.add(&taken);
            }
        }
        Ok(Some(covered.into_iter().collect()))
    }
}

fn meter_of<'a>(
    books: &'a Books,
    key: Option<&counterfoil_types::MeterKey>,
) -> Result<Option<&'a Meter>, EngineError> {
    let Some(key) = key else { return Ok(None) };
    let meter = books
        .meters()
        .get(key)
        .ok_or_else(|| EngineError::not_found("meter", key, "; publish the price book again"))?;
    Ok(Some(meter))
}
