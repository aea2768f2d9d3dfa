//! `mail`: what a mail looks like, without sending it.

use counterfoil_delivery::mail::{
    KINDS, letter,
    letter::{Composed, LetterError},
    message,
};
use counterfoil_engine::Engine;
use counterfoil_store::Effect;

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

pub(super) async fn run(
    engine: &Engine,
    config: &Config,
    command: args::Mail,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let args::Mail::Preview { kind, key, html } = command;
    if !letter::is_mailed(&kind) {
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        return Err(CliError::asked(format!(
            "{kind:?} is not mailed; these are: {}",
            kinds.join(", ")
        )));
    }
    let effect = match latest(engine, &kind, key.as_deref()).await? {
        Some(effect) => effect,
        None => Effect {
            position: 0,
            key: format!("{kind}/preview"),
            body: letter::sample(&kind).ok_or_else(|| {
                CliError::asked(format!(
                    "there is no {kind} in the outbox yet, and it cannot be made up: bill something first (`counterfoil quickstart`)"
                ))
            })?,
            kind,
            at: engine.now(),
        },
    };
    let mut options = deliver::mail_options(config)?;
    if options.operators.is_empty() {
        options.operators.push(options.from.clone());
    }
    let composed = letter::compose(engine.store(), &engine.tenant().id, &effect, &options).await;
    let letter = match composed {
        Ok(Composed::Letter(letter)) => letter,
        Ok(Composed::Nobody(why)) => return Err(CliError::asked(why)),
        Err(LetterError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(CliError::asked(error.to_string())),
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
    out.line(if html { page } else { text })?;
    Ok(Verdict::Done)
}
