//! The accept loop. `axum::serve` has no time-out for headers and no limit of connections, so this
//! one is our own, on hyper: a slow client cannot hold a connection without saying anything, and
//! when told to stop, the service finishes what it has begun.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::service::Shared;

/// How the service listens.
#[derive(Clone)]
pub struct Listen {
    /// Most connections at once; more wait in the system's queue.
    pub connections: usize,
    /// How long the headers of a request may take.
    pub header_timeout: Duration,
    /// How long requests that were begun may take once the service stops.
    pub drain: Duration,
    /// TLS, where the service speaks it itself.
    pub tls: Option<TlsAcceptor>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(25),
            tls: None,
        }
    }
}

/// Why the service could not listen.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A certificate or key that cannot be used.
    #[error("the certificate or key cannot be used: {0}")]
    Tls(String),
}

/// TLS from PEM files.
///
/// # Errors
/// When they cannot be read or do not fit each other.
pub fn tls(
    certificates: &std::path::Path,
    key: &std::path::Path,
) -> Result<TlsAcceptor, ServeError> {
    let failed = |error: &dyn std::fmt::Display| ServeError::Tls(error.to_string());
    let chain = CertificateDer::pem_file_iter(certificates)
        .map_err(|error| failed(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(&error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` is done, then drains. Returns how many connections were cut off.
pub async fn serve(
    shared: &Shared,
    listener: TcpListener,
    listen: Listen,
    stop: impl Future<Output = ()>,
) -> usize {
    let router = shared.router();
    let places = Arc::new(Semaphore::new(listen.connections));
    let draining = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        // A place first: a connection beyond them is not even accepted.
        let place = tokio::select! {
            () = &mut stop => break,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, for example: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Receipts are small and waited for.
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            router: router.clone(),
            shared: shared.clone(),
            header_timeout: listen.header_timeout,
            watcher: draining.watcher(),
            peer,
        };
        let tls = listen.tls.clone();
        tokio::spawn(async move {
            connection.shared.metrics.connections.inc();
            let shared = connection.shared.clone();
            match tls {
                None => connection.run(stream).await,
                Some(tls) => {
                    let patience = connection.header_timeout;
                    match tokio::time::timeout(patience, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection.run(stream).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                        Err(_) => tracing::debug!("the TLS handshake took too long"),
                    }
                }
            }
            shared.metrics.connections.dec();
            drop(place);
        });
    }
    // No new connection is taken from here on.
    drop(listener);
    let left = draining.count();
    match tokio::time::timeout(listen.drain, draining.shutdown()).await {
        Ok(()) => 0,
        Err(_) => left,
    }
}

struct Connection {
    router: Router,
    shared: Shared,
    header_timeout: Duration,
    watcher: hyper_util::server::graceful::Watcher,
    peer: SocketAddr,
}

impl Connection {
    async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(64 * 1024)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(64)
            .max_header_list_size(64 * 1024);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection.into_owned()).await {
            tracing::debug!(%error, peer = %self.peer, "a connection ended badly");
        }
    }
}
