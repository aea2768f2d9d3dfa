//! Through real sockets: slow clients, too many of them, TLS, stopping in the middle of load.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use counterfoil_api::{Listen, Options, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

use crate::world::{World, call, options};

struct Running {
    world: Arc<World>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<usize>,
}

async fn running(options: Options, listen: Listen) -> Running {
    let world = Arc::new(World::with(options).await);
    world.furnish().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shared = world.shared.clone();
    let task = tokio::spawn(async move {
        serve(&shared, listener, listen, async {
            let _ = stopped.await;
        })
        .await
    });
    Running { world, address, stop: Some(stop), task }
}

impl Running {
    fn request(&self, body: &str) -> String {
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.world.admin,
            body.len()
        )
    }

    /// Sends a request on a connection of its own and gives the status line, or nothing.
    async fn exchange(&self, text: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.address).await.ok()?;
        socket.write_all(text.as_bytes()).await.ok()?;
        answer(&mut socket).await
    }
}

/// The status line of one answer, whose body is read as well.
async fn answer(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0_u8; 4096];
        let read = socket.read(&mut piece).await.ok()?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(piece.get(..read)?);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return head.lines().next().map(ToOwned::to_owned);
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().next().map(ToOwned::to_owned)
}

#[tokio::test]
async fn slow_sockets_are_dropped_and_keep_nobody_waiting() {
    let listen = Listen { header_timeout: Duration::from_millis(1_500), ..Listen::default() };
    let running = running(options(), listen).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(running.address).await.unwrap();
        socket.write_all(b"POST /v1/events HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        slow.push(socket);
    }
    let healthy = running.request(&call("quick", "acme").to_string());
    let status = tokio::time::timeout(Duration::from_secs(30), running.exchange(&healthy)).await;
    assert_eq!(status.unwrap().as_deref(), Some("HTTP/1.1 201 Created"));
    // They go on dribbling; the service does not wait for them for ever.
    for mut socket in slow {
        let _ = socket.write_all(b"x-slow: 1\r\n").await;
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut rest));
        assert!(ended.await.is_ok(), "a slow socket was left open");
    }
}

#[tokio::test]
async fn tls_is_spoken_and_plain_text_is_not_understood() {
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};

    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(counterfoil_api::tls(&key, &certificate).is_err(), "files in the wrong places");
    let tls = counterfoil_api::tls(&certificate, &key).unwrap();
    let running = running(options(), Listen { tls: Some(tls), ..Listen::default() }).await;
    let request = running.request(&call("safe", "acme").to_string());
    let plain = running.exchange(&request).await;
    assert!(plain.is_none_or(|line| !line.starts_with("HTTP")), "plain text is not answered");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut socket = connector.connect(name, socket).await.unwrap();
    let request = request.replace("host: x", "host: x\r\nconnection: close");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    // Whether the last record closes the connection properly is not what is asked here.
    let _ = socket.read_to_end(&mut text).await;
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 201 Created"));
}

#[tokio::test]
async fn a_body_that_dribbles_is_given_up() {
    let slow = Options { body_timeout: Duration::from_millis(500), ..options() };
    let running = running(slow, Listen::default()).await;
    let whole = running.request(&call("slow", "acme").to_string());
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket.write_all(&whole.as_bytes()[..whole.len() - 5]).await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), answer(&mut socket)).await.unwrap();
    assert_eq!(status.as_deref(), Some("HTTP/1.1 408 Request Timeout"));
    let lines = whole.replace("application/json", "application/x-ndjson");
    let mut socket = TcpStream::connect(running.address).await.unwrap();
    socket.write_all(&lines.as_bytes()[..lines.len() - 5]).await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(30), answer(&mut socket)).await.unwrap();
    assert_eq!(status.as_deref(), Some("HTTP/1.1 408 Request Timeout"));
}

#[tokio::test]
async fn beyond_its_room_the_service_says_so_and_one_tenant_leaves_room_for_others() {
    let narrow = Options { in_flight: 6, tenant_in_flight: 3, ..options() };
    let running = running(narrow, Listen::default()).await;
    let whole = running.request(&call("held", "acme").to_string());
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(running.address).await.unwrap();
        socket.write_all(&whole.as_bytes()[..whole.len() - 5]).await.unwrap();
        held.push(socket);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let more = running.request(&call("more", "acme").to_string());
    let status = running.exchange(&more).await;
    assert_eq!(status.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
    let other = running.world.key("other", &["ingest"]).await;
    let theirs = more.replace(&running.world.admin, &other);
    assert_eq!(running.exchange(&theirs).await.as_deref(), Some("HTTP/1.1 201 Created"));
    for mut socket in held {
        socket.write_all(&whole.as_bytes()[whole.len() - 5..]).await.unwrap();
        let status = answer(&mut socket).await.unwrap();
        assert!(status.contains(" 20"), "{status}");
    }
    assert_eq!(running.exchange(&more).await.as_deref(), Some("HTTP/1.1 201 Created"));
}

#[tokio::test]
async fn what_was_acknowledged_while_stopping_is_stored() {
    let mut running = running(options(), Listen::default()).await;
    let address = running.address;
    let mut callers = Vec::new();
    for caller in 0..8 {
        let requests: Vec<(String, String)> = (0..400)
            .map(|number| {
                let id = format!("s{caller}-{number}");
                (id.clone(), running.request(&call(&id, "acme").to_string()))
            })
            .collect();
        callers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let Ok(mut socket) = TcpStream::connect(address).await else { return acknowledged };
            for (id, request) in requests {
                if socket.write_all(request.as_bytes()).await.is_err() {
                    break;
                }
                match answer(&mut socket).await {
                    Some(status) if status.contains("201") => acknowledged.push(id),
                    _ => break,
                }
            }
            acknowledged
        }));
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    running.stop.take().unwrap().send(()).unwrap();
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(caller.await.unwrap());
    }
    assert_eq!(running.task.await.unwrap(), 0, "nothing was cut off");
    assert!(!acknowledged.is_empty());
    assert!(TcpStream::connect(address).await.is_err(), "no new connection is taken");
    for id in acknowledged {
        let path = format!("/v1/events/find?source=svc&id={id}");
        assert_eq!(running.world.get(&path).await.status, 200, "{id} was acknowledged");
    }
}
