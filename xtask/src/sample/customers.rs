//! The customers of the sample, and the file that states them.

use std::fmt::Write as _;

/// A subscription to a plan.
pub(super) struct Subscription {
    id: &'static str,
    book: &'static str,
    plan: &'static str,
    start: &'static str,
}

/// A customer.
pub(super) struct Customer {
    pub(super) id: &'static str,
    name: &'static str,
    email: &'static str,
    pub(super) zone: &'static str,
    /// Name and percent of each tax.
    tax: &'static [(&'static str, &'static str)],
    subscriptions: &'static [Subscription],
}

/// An API company on pay as you go.
pub(super) const ACME: Customer = Customer {
    id: "acme-maps",
    name: "Acme Maps Inc.",
    email: "accounts@acme-maps.example",
    zone: "America/New_York",
    tax: &[("Sales tax", "8.875")],
    subscriptions: &[Subscription {
        id: "acme-maps-payg",
        book: "metering-engine",
        plan: "payg",
        start: "2026-09-01",
    }],
};
/// A platform customer that uses all six services, and a support bot beside them.
pub(super) const NORDLICHT: Customer = Customer {
    id: "nordlicht",
    name: "Nordlicht Logistik GmbH",
    email: "rechnung@nordlicht.example",
    zone: "Europe/Berlin",
    tax: &[("VAT", "19")],
    subscriptions: &[
        Subscription {
            id: "nordlicht-platform",
            book: "six-services",
            plan: "platform",
            start: "2026-06-01",
        },
        Subscription {
            id: "nordlicht-bot",
            book: "llm-tokens",
            plan: "tokens",
            start: "2026-09-01",
        },
    ],
};
/// A hobby project on the free plan.
pub(super) const TIFFIN: Customer = Customer {
    id: "tiffin-club",
    name: "Tiffin Club",
    email: "hello@tiffin-club.example",
    zone: "Asia/Kolkata",
    tax: &[],
    subscriptions: &[Subscription {
        id: "tiffin-club-free",
        book: "saas-plans",
        plan: "free",
        start: "2026-08-01",
    }],
};
/// A start-up that subscribed in the middle of the month; two taxes.
pub(super) const BAYSIDE: Customer = Customer {
    id: "bayside-fit",
    name: "Bayside Fitness LLC",
    email: "office@bayside-fit.example",
    zone: "America/Los_Angeles",
    tax: &[("State sales tax", "7.25"), ("District tax", "2.5")],
    subscriptions: &[Subscription {
        id: "bayside-fit-starter",
        book: "saas-plans",
        plan: "starter",
        start: "2026-10-12",
    }],
};
/// An app with many active users.
pub(super) const KOALA: Customer = Customer {
    id: "koala-learning",
    name: "Koala Learning Pty Ltd",
    email: "finance@koala-learning.example",
    zone: "Australia/Sydney",
    tax: &[("GST", "10")],
    subscriptions: &[Subscription {
        id: "koala-learning-pro",
        book: "saas-plans",
        plan: "pro",
        start: "2026-09-01",
    }],
};
/// A bank whose yearly subscription starts on the fifth.
pub(super) const MERIDIAN: Customer = Customer {
    id: "meridian-bank",
    name: "Meridian Bank, N.A.",
    email: "vendors@meridian-bank.example",
    zone: "America/New_York",
    tax: &[],
    subscriptions: &[Subscription {
        id: "meridian-bank-enterprise",
        book: "saas-plans",
        plan: "enterprise",
        start: "2026-10-05",
    }],
};
/// A writing tool that passes tokens through.
pub(super) const LEXICA: Customer = Customer {
    id: "lexica",
    name: "Lexica Writing Tools",
    email: "billing@lexica.example",
    zone: "UTC",
    tax: &[],
    subscriptions: &[Subscription {
        id: "lexica-tokens",
        book: "llm-tokens",
        plan: "tokens",
        start: "2026-09-01",
    }],
};

/// All of them, in the order of the file.
pub(super) const ALL: [&Customer; 7] =
    [&ACME, &NORDLICHT, &TIFFIN, &BAYSIDE, &KOALA, &MERIDIAN, &LEXICA];

/// The customers file.
pub(super) fn to_toml() -> String {
    let mut text = String::from(
        "# The customers of the sample month. Written by `cargo run -p xtask -- sample`.\n",
    );
    for customer in ALL {
        // Writing to a string cannot fail.
        let _ = write_customer(&mut text, customer);
    }
    text
}

fn write_customer(text: &mut String, customer: &Customer) -> std::fmt::Result {
    writeln!(text, "\n[[customer]]")?;
    writeln!(text, "id = \"{}\"", customer.id)?;
    writeln!(text, "name = \"{}\"", customer.name)?;
    writeln!(text, "email = \"{}\"", customer.email)?;
    writeln!(text, "currency = \"USD\"")?;
    writeln!(text, "zone = \"{}\"", customer.zone)?;
    if !customer.tax.is_empty() {
        let rates: Vec<String> = customer
            .tax
            .iter()
            .map(|(name, percent)| format!("{{ name = \"{name}\", percent = \"{percent}\" }}"))
            .collect();
        writeln!(text, "tax = [{}]", rates.join(", "))?;
    }
    for subscription in customer.subscriptions {
        writeln!(text, "\n[[customer.subscription]]")?;
        writeln!(text, "id = \"{}\"", subscription.id)?;
        writeln!(text, "book = \"{}\"", subscription.book)?;
        writeln!(text, "plan = \"{}\"", subscription.plan)?;
        writeln!(text, "start = \"{}\"", subscription.start)?;
    }
    Ok(())
}
