//! The rules of a tenant. They are settings, so that changing one is audited and repeatable like any
//! other commit; the defaults hold where no rule has their id.

use counterfoil_alerting::{Rule, defaults};
use counterfoil_store::{Commit, Write};

use crate::{Engine, EngineError};

const PREFIX: &str = "alert-rule/";
/// Most rules of a tenant: all are looked at for each customer.
const MOST: usize = 1_000;

impl Engine {
    /// All rules, in order of id, the defaults first.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn alert_rules(&self) -> Result<Vec<Rule>, EngineError> {
        let own = self.own_alert_rules().await?;
        let mut rules = defaults();
        rules.retain(|rule| own.iter().all(|other| other.id != rule.id));
        rules.extend(own);
        Ok(rules)
    }

    async fn own_alert_rules(&self) -> Result<Vec<Rule>, EngineError> {
        let stored = self.store.settings(&self.tenant.id, PREFIX).await?;
        stored.iter().map(|(_, text)| Ok(serde_json::from_str(text)?)).collect()
    }

    /// The rule with this id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn alert_rule(&self, id: &str) -> Result<Rule, EngineError> {
        let found = self.alert_rules().await?.into_iter().find(|rule| rule.id == id);
        found.ok_or_else(|| EngineError::NotFound {
            what: "alert rule",
            name: id.to_owned(),
            hint: "; `counterfoil alert rules` shows those there are".to_owned(),
        })
    }

    /// Makes a rule, or replaces the one of its id.
    ///
    /// # Errors
    /// When it makes no sense, or names something that does not exist.
    pub async fn put_alert_rule(&self, rule: &Rule) -> Result<(), EngineError> {
        rule.check().map_err(|error| EngineError::refused(error.to_string()))?;
        if let Some(customer) = &rule.customer {
            self.customer(customer).await?;
        }
        let books = self.books().await?;
        if let Some(meter) = &rule.meter
            && !books.meters().contains_key(meter)
        {
            let (what, name) = ("meter", meter.to_string());
            return Err(EngineError::NotFound { what, name, hint: String::new() });
        }
        if let Some(plan) = &rule.plan
            && !books.all().any(|book| book.plans.iter().any(|known| known.key == *plan))
        {
            let (what, name) = ("plan", plan.to_string());
            return Err(EngineError::NotFound { what, name, hint: String::new() });
        }
        let all = self.alert_rules().await?;
        if let Some(replaced) = &rule.replaces
            && all.iter().all(|known| known.id != *replaced)
        {
            let (what, name) = ("alert rule", replaced.clone());
            return Err(EngineError::NotFound { what, name, hint: String::new() });
        }
        if all.len() >= MOST && all.iter().all(|known| known.id != rule.id) {
            return Err(EngineError::refused(format!(
                "a tenant has at most {MOST} alert rules; remove one"
            )));
        }
        let (key, value) = (format!("{PREFIX}{}", rule.id), serde_json::to_string(rule)?);
        Ok(self.commit(&Commit::of(Write::Set { key, value: Some(value) })).await?)
    }

    /// Removes a rule; a default holds again. Removing one that is not there changes nothing.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn remove_alert_rule(&self, id: &str) -> Result<(), EngineError> {
        let write = Write::Set { key: format!("{PREFIX}{id}"), value: None };
        Ok(self.commit(&Commit::of(write)).await?)
    }
}
