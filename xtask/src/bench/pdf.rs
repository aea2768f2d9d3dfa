//! `pdf`: invoices of twelve lines printed per second on all cores, each with its electronic invoice,
//! after a warm-up. Typst takes minutes to compile, so it is a feature: without it, this starts itself
//! again with it.

use crate::Outcome;

#[cfg(not(feature = "pdf"))]
pub(super) fn run(count: u64) -> Outcome<String> {
    let count = count.to_string();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["run", "--quiet", "--release", "-p", "xtask", "--features", "pdf", "--", "bench", "pdf"];
    let output = std::process::Command::new(cargo)
        .args(arguments)
        .arg(&count)
        .current_dir(crate::repository())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the benchmark with the feature `pdf` failed; see above".into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(feature = "pdf")]
pub(super) use printing::run;

#[cfg(feature = "pdf")]
mod printing {
    use std::time::Instant;

    use counterfoil_documents::{
        Branding, Format, Kind, Model, Party, Renderer,
        model::{Line, Tax},
    };
    use counterfoil_types::{Currency, Exact, Money, Period, Rounding, Timestamp, Zone};

    use super::super::figure::{Figure, per_second};
    use crate::Outcome;

    const GOAL: u64 = 200;
    const LINES: u64 = 12;
    const WARM_UP: u64 = 40;

    fn party(name: &str) -> Party {
        Party {
            name: name.to_owned(),
            street: vec!["Marktstraße 12".to_owned()],
            postcode: Some("80331".to_owned()),
            city: Some("München".to_owned()),
            country: Some("DE".to_owned()),
            tax_id: Some("DE129273398".to_owned()),
            ..Party::default()
        }
    }

    /// An invoice unlike the others: number, customer, usage and amounts differ.
    fn invoice(number: u64) -> Outcome<Model> {
        let currency = Currency::EUR;
        let none = Money::zero(currency);
        let (start, end): (Timestamp, Timestamp) =
            ("2026-10-01T00:00:00Z".parse()?, "2026-11-01T00:00:00Z".parse()?);
        let mut lines = Vec::new();
        let mut subtotal = none;
        for line in 0..LINES {
            let cents = Exact::from(number * 37 + line * 1009 + 1).mul(&Exact::unit(2));
            let amount = Money::from_exact(&cents, currency)?;
            subtotal = subtotal.checked_add(amount)?;
            lines.push(Line {
                name: format!("Service {line}"),
                kind: None,
                period: Some(Period::new(start, end)),
                metered: Some((Exact::from(number * 1000 + line), "calls".to_owned())),
                units: Exact::from(number * 1000 + line),
                parts: Vec::new(),
                factor: None,
                rated: amount,
                already_billed: None,
                amount,
                prepaid: none,
                taxes: vec![none],
                exempt: false,
            });
        }
        let percent = "19".parse()?;
        let tax = subtotal.exact().mul(&Exact::from(19u64)).mul(&Exact::unit(2));
        let tax = Money::round_from(&tax, currency, Rounding::HalfAwayFromZero)?;
        if let Some(last) = lines.last_mut() {
            last.taxes = vec![tax];
        }
        let model = Model {
            issued_at: Some(end),
            due_at: Some("2026-11-15T00:00:00Z".parse()?),
            period: Some(Period::new(start, end)),
            customer: format!("customer-{number}"),
            buyer: party(&format!("Customer number {number} GmbH")),
            lines,
            subtotal,
            taxes: vec![Tax { name: "VAT".to_owned(), percent, base: subtotal, amount: tax }],
            tax,
            total: subtotal.checked_add(tax)?,
            ..Model::new(Kind::Invoice, format!("INV-2026-{number:06}"), currency, Zone::utc())
        };
        Ok(model)
    }

    fn print(renderer: &Renderer, branding: &Branding, from: u64, to: u64) -> Result<u64, String> {
        let mut bytes = 0;
        for number in from..to {
            let model = invoice(number).map_err(|error| error.to_string())?;
            let made = renderer.render(&model, branding, Format::Pdf);
            let made = made.map_err(|error| error.to_string())?;
            bytes += u64::try_from(made.bytes.len()).unwrap_or(0);
        }
        Ok(bytes)
    }

    pub(crate) fn run(count: u64) -> Outcome<String> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = u64::try_from(threads)?;
        let branding = Branding { seller: party("Acme Cloud GmbH"), ..Branding::default() };
        let renderer = Renderer::default();
        print(&renderer, &branding, 0, WARM_UP)?;
        let start = Instant::now();
        let mut bytes = 0;
        std::thread::scope(|scope| -> Outcome<()> {
            let each = |thread: u64| {
                let bound = |part: u64| WARM_UP + count * part / threads;
                let (renderer, branding) = (&renderer, &branding);
                let (from, to) = (bound(thread), bound(thread + 1));
                scope.spawn(move || print(renderer, branding, from, to))
            };
            let running: Vec<_> = (0..threads).map(each).collect();
            for thread in running {
                bytes += thread.join().map_err(|_| "a printer stopped")??;
            }
            Ok(())
        })?;
        let value = per_second(count, start.elapsed());
        Figure {
            bench: "pdf",
            value,
            unit: "invoices/s",
            baseline: Some(("goal", GOAL)),
            goal: ">= 200 invoices/s on 2 cores (12 lines, PDF/A-3 with factur-x.xml)",
            details: vec![
                ("threads".into(), threads.to_string()),
                ("size of one".into(), format!("{} bytes", bytes / count.max(1))),
            ],
        }
        .report()
    }
}
