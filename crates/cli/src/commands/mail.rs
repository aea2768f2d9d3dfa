//! `mail`: what a mail looks like, without sending it.

use counterfoil_delivery::mail::{
    KINDS,
    bounce::{self, Bounce},
    letter,
    letter::{Composed, LetterError},
    message,
};
use counterfoil_engine::Engine;
use counterfoil_store::{Commit, Effect};

use super::{Verdict, deliver};
use crate::{args, config::Config, error::CliError, output::Out};

/// Effects that are looked at together.
const PAGE: u32 = 500;

async fn latest(
    engine: &Engine,
    kind: &str,
    key: Option<&str>,
) -> Result<Option<Effect>, CliError> {
    let (mut after, mut found) = (0, None);
    loop {
        let page = engine.store().effects(&engine.tenant().id, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = last.position;
        let wanted =
            |effect: &Effect| effect.kind == kind && key.is_none_or(|key| effect.key == key);
        found = page.into_iter().rfind(wanted).or(found);
    }
}

async fn preview(
    engine: &Engine,
    config: &Config,
    (kind, key, html, language): (String, Option<String>, bool, Option<String>),
    out: &mut Out,
) -> Result<(), CliError> {
    if !letter::is_mailed(&kind) {
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(CliError::asked(format!(
            "{kind:?} is not mailed; these are: {}",
            kinds.join(", ")
        )));
    }
    let mut options = deliver::mail_options(config)?;
    if options.operators.is_empty() {
        options.operators.push(options.from.clone());
    }
    let tenant = &engine.tenant().id;
    let known = match language {
        Some(_) => None,
        None => latest(engine, &kind, key.as_deref()).await?,
    };
    let letter = match known {
        Some(effect) => match letter::compose(engine.store(), tenant, &effect, &options).await {
            Ok(Composed::Letter(letter)) => *letter,
            Ok(Composed::Nobody(why)) => return Err(CliError::asked(why)),
            Err(LetterError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(CliError::asked(error.to_string())),
        },
        None => letter::sample::letter(&kind, language.as_deref(), tenant, &options)
            .map_err(|error| CliError::asked(error.to_string()))?,
    };
    let (page, text) =
        message::render(&letter).map_err(|error| CliError::asked(error.to_string()))?;
    out.value(&serde_json::json!({
        "to": letter.to.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "subject": letter.subject, "html": page, "text": text,
    }))?;
    for to in &letter.to {
        out.line(format_args!("To: {to}"))?;
    }
    out.line(if html { page } else { text })
}

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Mail,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let (store, tenant) = (engine.store(), &engine.tenant().id);
    match command {
        args::Mail::Preview { kind, key, html, language } => {
            preview(engine, config, (kind, key, html, language), out).await?;
        }
        args::Mail::Bounces => {
            let found = bounce::list(store, tenant).await?;
            out.value(&found)?;
            let rows = found.iter().map(|(customer, bounce)| {
                vec![
                    customer.clone(),
                    bounce.address.clone(),
                    bounce.at.to_string(),
                    bounce.reason.clone(),
                ]
            });
            out.table(&["customer", "address", "since", "reason"], rows.collect(), &[])?;
        }
        args::Mail::Bounce { customer, reason, address } => {
            let address = address.or(engine.customer(&customer).await?.email).ok_or_else(|| {
                CliError::asked(format!("customer {customer} has no e-mail address"))
            })?;
            let bounce = Bounce::seen(address, engine.now(), None, &reason);
            engine.commit(&Commit::of(bounce.kept(&customer)?)).await?;
            out.line(format_args!("nothing more is sent to {}", bounce.address))?;
        }
        args::Mail::Reset { customer } => {
            engine.customer(&customer).await?;
            engine.commit(&Commit::of(bounce::forgotten(&customer))).await?;
            out.line(format_args!("mail is sent to {customer} again"))?;
        }
    }
    Ok(Verdict::Done)
}
