//! A receiver of web hooks on a real socket. The path says how it behaves; it records each request.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// The server; it stops with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, &kept).await;
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often each id came.
    pub(crate) fn ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for request in self.requests() {
            *ids.entry(request.headers["webhook-id"].clone()).or_default() += 1;
        }
        ids
    }
}

async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let mut lines = head.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers["content-length"].parse().unwrap();
        read.drain(..end + 4);
        while read.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let body = String::from_utf8(read.drain(..length).collect()).unwrap();
        let earlier = {
            let mut kept = kept.lock().unwrap();
            let earlier = kept.iter().filter(|request| request.path == path).count();
            kept.push(Request { path: path.clone(), headers, body });
            earlier
        };
        let answer = |status: &str, more: &str, body: &str| {
            format!("HTTP/1.1 {status} X\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
        };
        let step = path.trim_start_matches('/').split('?').next().unwrap();
        match step {
            // Whatever was asked took effect; only its answer is lost.
            "cut-once" if earlier == 0 => return Ok(()),
            "cut" => return Ok(()),
            "hang" => tokio::time::sleep(Duration::from_secs(600)).await,
            "drip" => loop {
                stream.write_all(b"H").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
            "huge" => {
                let head = "HTTP/1.1 500 X\r\ncontent-length: 1000000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                loop {
                    stream.write_all(&[b'x'; 65_536]).await?;
                }
            }
            "redirect" => {
                let to = "location: http://169.254.169.254/latest/meta-data\r\n";
                stream.write_all(answer("302", to, "").as_bytes()).await?;
            }
            "busy-once" if earlier == 0 => {
                stream.write_all(answer("503", "", "later").as_bytes()).await?;
            }
            status if status.parse::<u16>().is_ok() => {
                stream.write_all(answer(status, "", "it said\u{7} no").as_bytes()).await?;
            }
            _ => stream.write_all(answer("200", "", "thanks").as_bytes()).await?,
        }
    }
}
