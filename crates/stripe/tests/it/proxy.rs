//! A connection that is cut: before a request reaches the server, or after the server did what was
//! asked and before its answer comes back. One fault at a time; everything else passes.

#![cfg(test)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It never arrives.
    Before,
    /// It arrives; its answer is lost.
    After,
    /// It arrives; its answer never ends.
    Hangs,
}

#[derive(Default)]
struct Script {
    /// Method and end of the path, and what happens to the next such request.
    next: Option<(String, Cut)>,
    seen: Vec<String>,
}

/// The proxy; it stops with the test.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

/// Reads one message: head and body.
pub(crate) async fn message(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end + 4);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let length = length.unwrap_or(0);
    while read.len() < length {
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, read.drain(..length).collect())))
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let kept = script.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let _ = pass(stream, server, &kept).await;
                });
            }
        });
        Self { address, script }
    }

    /// Cuts the next request whose first line begins so.
    pub(crate) fn cut(&self, call: &str, cut: Cut) {
        self.script.lock().unwrap().next = Some((call.to_owned(), cut));
    }

    /// Whether the cut was made.
    pub(crate) fn is_done(&self) -> bool {
        self.script.lock().unwrap().next.is_none()
    }

    /// Requests so far: method and path.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.script.lock().unwrap().seen.clone()
    }
}

async fn pass(
    mut stream: TcpStream,
    server: SocketAddr,
    script: &Mutex<Script>,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    if let Some((head, body)) = message(&mut stream, &mut read).await? {
        let line = head.lines().next().unwrap_or_default();
        let line = line.trim_end_matches(" HTTP/1.1").to_owned();
        let cut = {
            let mut script = script.lock().unwrap();
            script.seen.push(line.clone());
            let hit = script.next.as_ref().is_some_and(|(call, _)| {
                let (method, path) = line.split_once(' ').unwrap();
                let path = path.split('?').next().unwrap();
                let (wanted, end) = call.split_once(' ').unwrap();
                method == wanted && path.ends_with(end)
            });
            if hit { script.next.take().map(|(_, cut)| cut) } else { None }
        };
        if cut == Some(Cut::Before) {
            return Ok(());
        }
        let mut upstream = TcpStream::connect(server).await?;
        upstream.write_all(format!("{head}\r\n\r\n").as_bytes()).await?;
        upstream.write_all(&body).await?;
        let mut answer = Vec::new();
        let Some((head, body)) = message(&mut upstream, &mut answer).await? else {
            return Ok(());
        };
        match cut {
            Some(Cut::After) => return Ok(()),
            Some(Cut::Hangs) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                return std::future::pending().await;
            }
            _ => {
                // One request on each connection.
                let head: Vec<&str> = head
                    .lines()
                    .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
                    .collect();
                let head = format!("{}\r\nconnection: close\r\n\r\n", head.join("\r\n"));
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
                return Ok(());
            }
        }
    }
    Ok(())
}
