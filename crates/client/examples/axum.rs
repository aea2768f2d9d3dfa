//! A small service that meters its requests and honours quotas.
//!
//! ```sh
//! COUNTERFOIL_URL=http://127.0.0.1:8080 COUNTERFOIL_KEY=cf_… \
//!   cargo run -p counterfoil-client --features axum --example axum
//! curl -i -H 'x-customer: acme' http://127.0.0.1:3000/items/17
//! ```

use axum::{Router, extract::Path, routing::get};
use counterfoil_client::{Client, MeterLayer, MeterOptions, QuotaCheck, Writer, WriterOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("COUNTERFOIL_URL")?;
    let client = Client::new(&url, &std::env::var("COUNTERFOIL_KEY")?)?;
    let spill = Some(std::env::temp_dir().join("counterfoil-example"));
    let writer =
        Writer::start(client.clone(), WriterOptions { spill, ..WriterOptions::default() })?;

    // A real service finds the customer by what it has authenticated.
    let options =
        MeterOptions::new(|parts| Some(parts.headers.get("x-customer")?.to_str().ok()?.to_owned()))
            .quota(QuotaCheck::new(client, "requests"));
    let app = Router::new()
        .route("/items/{id}", get(async |Path(id): Path<u32>| format!("item {id}")))
        .route_layer(MeterLayer::new(writer.clone(), options));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Whether it could be listened for or not, this is the end.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    let closed = writer.close().await;
    if !closed.undelivered.is_empty() {
        return Err(format!("{} events are lost", closed.undelivered.len()).into());
    }
    Ok(())
}
