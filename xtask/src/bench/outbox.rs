//! `outbox`: effects queued, then delivered by one relay over loopback: to a receiver of web hooks,
//! and to a mail server, both of a few lines that take everything.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use counterfoil_delivery::{
    Guard, Relay, RelayOptions, Sender, WebSender,
    endpoint::{self, NewEndpoint},
    mail::{MailOptions, MailSender, SmtpOptions, SmtpSecurity, Transport},
};
use counterfoil_invoicing::Customer;
use counterfoil_store::{Commit, Store, Write};
use counterfoil_store_postgres::testing::{Disk, Server};
use counterfoil_store_sqlite::SqliteStore;
use counterfoil_types::{Currency, CustomerId, FixedClock, Random, TenantId, Zone};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{
    figure::{Figure, per_second},
    ingest_postgres::{SETTINGS, fresh, now},
    month::runtime,
};
use crate::Outcome;

/// A mail costs more than a web hook: fewer are sent.
const SHARE: u64 = 4;
const AT_ONCE: u32 = 64;

struct Plain;
impl Random for Plain {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

pub(super) fn run(count: u64) -> Outcome<String> {
    let server = Server::start(Disk::Durable, &SETTINGS)?;
    let postgres = runtime()?.block_on(async {
        let (_, store) = fresh(&server).await?;
        let measured = measure(Arc::new(store.clone()), count).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let sqlite = runtime()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let store = SqliteStore::open(&directory.path().join("bench.db")).await?;
        let measured = measure(Arc::new(store.clone()), count).await?;
        store.close().await;
        Outcome::Ok(measured)
    })?;
    let mails = count / SHARE;
    let mut details = Vec::new();
    for (name, (hooks, letters)) in [("PostgreSQL", postgres), ("SQLite", sqlite)] {
        let hooks = per_second(count, hooks);
        details.push((format!("{name}, web hooks (wanted: 2,000/s)"), format!("{hooks}/s")));
        let letters = per_second(mails, letters);
        details.push((format!("{name}, mails (wanted: 300/s)"), format!("{letters}/s")));
    }
    Figure {
        bench: "outbox",
        value: per_second(count, postgres.0),
        unit: "web hooks/s",
        baseline: None,
        goal: ">= 2,000 web hooks/s, >= 300 mails/s",
        details,
    }
    .report()
}

async fn listen<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

/// Takes web hooks, as long as the connection lasts.
async fn web(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

/// Takes mails, as long as the connection lasts.
async fn smtp(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 here\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if line.to_ascii_uppercase().starts_with("DATA") {
            stream.write_all(b"354 go on\r\n").await?;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if line == ".\r\n" {
                    break;
                }
            }
        }
        let says: &[u8] =
            if line.starts_with("EHLO") { b"250-here\r\n250 8BITMIME\r\n" } else { b"250 ok\r\n" };
        stream.write_all(says).await?;
    }
}

async fn queue(store: &dyn Store, tenant: &TenantId, kind: &str, count: u64) -> Outcome<()> {
    let at = now();
    let writes: Vec<Write> = (0..count)
        .map(|number| Write::Queue {
            key: format!("{kind}/{number:08}"),
            kind: kind.to_owned(),
            body: json!({"customer": "acme", "quota": {"meter": "calls", "unit": "calls",
                "used": "100000", "hard": "100000"}}),
            at,
        })
        .collect();
    for page in writes.chunks(2_000) {
        store.commit(tenant, &Commit { writes: page.to_vec(), ..Commit::default() }).await?;
    }
    Ok(())
}

async fn measure(store: Arc<dyn Store>, count: u64) -> Outcome<(Duration, Duration)> {
    let tenant = TenantId::new("bench")?;
    store.ensure_tenant(&tenant, 1).await?;
    let mut customer = Customer::new(CustomerId::new("acme")?, "Acme", Currency::USD, Zone::utc());
    customer.email = Some("billing@acme.example".to_owned());
    store.commit(&tenant, &Commit::of(Write::PutCustomer(customer))).await?;
    let guard =
        Guard { allow_hosts: vec!["127.0.0.1".to_owned()], allow_http: true, ..Guard::default() };
    let url = format!("http://{}/hook", listen(web).await?);
    let kinds = vec!["invoice.issued".to_owned()];
    let new = NewEndpoint { id: Some("sink".to_owned()), url, kinds, secret: None };
    endpoint::add(store.as_ref(), &tenant, &guard, new, &Plain, now()).await?;
    let address = listen(smtp).await?;
    let transport = Transport::smtp(&SmtpOptions {
        host: "127.0.0.1".to_owned(),
        port: Some(address.port()),
        security: SmtpSecurity::None,
        credentials: None,
        certificate: None,
        timeout: None,
    })?;
    let options = MailOptions::from_sender("Seller <billing@seller.example>")?;
    let mail: Arc<dyn Sender> = Arc::new(MailSender::new(store.clone(), options, transport));
    let web: Arc<dyn Sender> = Arc::new(WebSender::new(store.clone(), guard)?);
    let relay = |mail: Option<Arc<dyn Sender>>| {
        Relay::new(
            store.clone(),
            tenant.clone(),
            Arc::new(FixedClock::new(now())),
            Arc::new(Plain),
            RelayOptions { concurrency: AT_ONCE, ..RelayOptions::of("bench") },
            (web.clone(), mail),
        )
    };
    queue(store.as_ref(), &tenant, "invoice.issued", count).await?;
    let hooks = drained(&relay(None), count).await?;
    queue(store.as_ref(), &tenant, "quota.exceeded", count / SHARE).await?;
    let letters = drained(&relay(Some(mail)), count / SHARE).await?;
    Ok((hooks, letters))
}

/// How long it takes until all are delivered.
async fn drained(relay: &Relay, count: u64) -> Outcome<Duration> {
    let start = Instant::now();
    let mut delivered = 0;
    while delivered < count {
        let report = relay.deliver_due().await?;
        if report.delivered == 0 {
            return Err(format!("{delivered} of {count} were delivered: {report:?}").into());
        }
        delivered += report.delivered;
    }
    Ok(start.elapsed())
}
