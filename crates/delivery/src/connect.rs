//! Resolving and connecting behind the guard: the address that was looked at is the address that is
//! connected to, so a name that resolves to something else the next moment gains nothing.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use hyper::{Uri, rt};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};
use tower::Service;

use crate::guard::Guard;

/// Where addresses of names come from.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of a host.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Connects for hyper.
#[derive(Clone)]
pub struct GuardedConnector {
    guard: Arc<Guard>,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl GuardedConnector {
    /// A connector that trusts the machine's certificates and `more`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        guard: Arc<Guard>,
        resolver: Arc<dyn Resolve>,
        more: RootCertStore,
    ) -> io::Result<Self> {
        let mut roots = more;
        // Certificates of the machine that make no sense are left out, as everywhere.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { guard, resolver, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let place =
            self.guard.check(&uri.to_string()).map_err(|error| refused(error.to_string()))?;
        let addresses = self.resolver.resolve(&place.host, place.port).await?;
        let mut last =
            io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", place.host));
        for address in addresses {
            // The one that is connected to is the one that is looked at.
            if let Err(error) = self.guard.check_address(&place.host, address.ip()) {
                last = refused(error.to_string());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    if !place.tls {
                        return Ok(Stream::Plain(TokioIo::new(stream)));
                    }
                    let name =
                        ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
                    let stream = self.tls.connect(name, stream).await?;
                    return Ok(Stream::Tls(Box::new(TokioIo::new(stream))));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection.
pub enum Stream {
    /// Without TLS, where configured.
    Plain(TokioIo<TcpStream>),
    /// With TLS.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl rt::Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
