//! Writing documents to files: under a temporary name first, so that there never is half a file. And
//! `branding`.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use counterfoil_documents::{
    Branding, DocumentError, Format, Model, Party, Renderer, branding::Logo,
    render::why_no_einvoice,
};
use counterfoil_engine::{Engine, EngineError};
use serde::{Serialize, de::DeserializeOwned};

use super::Verdict;
use crate::{
    args::{self, Written},
    config::Config,
    error::CliError,
    output::Out,
};

/// A renderer with the configured fonts.
pub(crate) fn renderer(config: &Config) -> Result<Renderer, CliError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for place in &config.fonts {
        let failed = |error: std::io::Error| CliError::file(place.display(), error);
        if place.is_dir() {
            for entry in std::fs::read_dir(place).map_err(failed)? {
                files.push(entry.map_err(failed)?.path());
            }
        } else {
            files.push(place.clone());
        }
    }
    // Which font is asked first must not depend on the order a folder is read in.
    files.sort();
    let is_font = |path: &PathBuf| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        matches!(ending.as_deref(), Some("ttf" | "otf" | "ttc" | "otc"))
    };
    let mut fonts = Vec::new();
    for file in files.iter().filter(|file| is_font(file)) {
        fonts.push(std::fs::read(file).map_err(|error| CliError::file(file.display(), error))?);
    }
    Ok(Renderer::new(fonts))
}

#[derive(Serialize)]
struct Done<'a> {
    file: Option<&'a Path>,
    media_type: &'a str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_einvoice: Option<&'a str>,
}

/// Writes a document as asked for.
pub(super) async fn write(
    engine: &Engine,
    config: &Config,
    model: &Model,
    written: &Written,
    out: &mut Out,
) -> Result<(), CliError> {
    let format = written.format.map_or(Format::best(), Format::from);
    let branding = engine.branding().await?;
    let made = renderer(config)?.render(model, &branding, format).map_err(EngineError::from)?;
    if written.out.as_deref() == Some(Path::new("-")) {
        return out.bytes(&made.bytes);
    }
    let path = written.out.clone().unwrap_or_else(|| PathBuf::from(&made.name));
    let path = if path.is_dir() { path.join(&made.name) } else { path };
    save(&path, &made.bytes)?;
    let why = if format == Format::Pdf { why_no_einvoice(model, &branding) } else { None };
    out.value(&Done {
        file: Some(&path),
        media_type: made.media_type,
        bytes: made.bytes.len(),
        without_einvoice: why.as_deref(),
    })?;
    out.line(format_args!("written to {}", path.display()))?;
    match why {
        Some(why) => out.line(format_args!("without an electronic invoice: {why}")),
        None => Ok(()),
    }
}

/// Writes a file that is whole or not there.
fn save(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::file(path.display(), error);
    // A pipe or device is written to; putting a file in its place would destroy it.
    if path.exists() && !path.is_file() {
        return std::fs::write(path, bytes).map_err(failed);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let kept = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    kept().map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        failed(error)
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| CliError::file(path.display(), error))?;
    let wrong = |error: String| CliError::file(path.display(), error);
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| wrong(error.to_string()));
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string()))
}

fn logo(path: &Path) -> Result<Logo, CliError> {
    let bytes = std::fs::read(path).map_err(|error| CliError::file(path.display(), error))?;
    let made = Logo::of(&bytes);
    made.map_err(|error: DocumentError| CliError::file(path.display(), error))
}

pub(super) async fn branding(
    engine: &Engine,
    command: args::Branding,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    match command {
        args::Branding::Show => show(&engine.branding().await?, out)?,
        args::Branding::Set { file, logo: picture } => {
            let mut branding: Branding = read(&file)?;
            if let Some(picture) = picture {
                branding.logo = Some(logo(&picture)?);
            }
            engine.set_branding(&branding).await?;
            out.value(&branding)?;
            out.line("documents carry it from now on")?;
        }
        args::Branding::Customer { customer, file: None } => {
            engine.customer(&customer).await?;
            show(&engine.billing_details(&customer).await?, out)?;
        }
        args::Branding::Customer { customer, file: Some(file) } => {
            let party: Party = read(&file)?;
            engine.set_billing_details(&customer, &party).await?;
            out.value(&party)?;
            out.line(format_args!("documents go to this address of {customer} from now on"))?;
        }
    }
    Ok(Verdict::Done)
}

fn show(value: &impl Serialize, out: &mut Out) -> Result<(), CliError> {
    out.value(value)?;
    let text = toml::to_string(value).map_err(|error| CliError::asked(error.to_string()))?;
    out.line(text.trim_end())
}
