//! The page: also what a mail carries, so styles stand in the elements or at the top, nothing is
//! loaded from elsewhere, and nothing runs.

use std::sync::LazyLock;

use minijinja::{Environment, context};

use crate::{branding::Branding, error::DocumentError, shown::Shown};

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // What is wrong with a template is said when it is used; tests use it.
    let _ = templates.add_template("document.html", include_str!("../templates/document.html"));
    templates
});

/// Writes the page.
///
/// # Errors
/// When the template fails, which tests rule out.
pub fn write(shown: &Shown, branding: &Branding) -> Result<String, DocumentError> {
    let failed = |error: minijinja::Error| DocumentError::Template(error.to_string());
    let template = TEMPLATES.get_template("document.html").map_err(failed)?;
    // Made by this crate, with everything of others in it escaped.
    let charts: Vec<minijinja::Value> = shown
        .annex
        .iter()
        .map(|annex| minijinja::Value::from_safe_string(annex.screen_chart.clone()))
        .collect();
    let logo = branding.logo.as_ref();
    let logo = logo.map(|logo| format!("data:{};base64,{}", logo.media_type, logo.data));
    template.render(context! { doc => shown, charts, logo }).map_err(failed)
}
