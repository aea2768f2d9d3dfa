//! Traces reach a collector: one that speaks OTLP over HTTP on a port of ours.

#![cfg(test)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{harness::Place, service::Service};

/// Takes one request and answers it: its first line and its body.
fn take(mut stream: TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut piece = [0_u8; 8_192];
    let head_end = loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => all.extend_from_slice(piece.get(..read)?),
        }
    };
    let head = String::from_utf8_lossy(all.get(..head_end)?).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.trim().parse().ok()?;
    while all.len() < head_end + length {
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => all.extend_from_slice(piece.get(..read)?),
        }
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).ok()?;
    let body = all.get(head_end..)?.to_vec();
    Some((head.lines().next()?.to_owned(), body))
}

fn holds(body: &[u8], wanted: &[u8]) -> bool {
    body.windows(wanted.len()).any(|part| part == wanted)
}

#[test]
fn requests_are_traced_to_a_collector_as_part_of_the_callers_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let (to, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in collector.incoming().flatten() {
            if let Some(request) = take(stream) {
                // The test may have seen enough.
                let _ = to.send(request);
            }
        }
    });
    let place = Place::on_the_wall_clock();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut service = Service::start_in(&place, &settings, &[]);
    let mut socket = TcpStream::connect(&service.address).unwrap();
    let secret = service.key.clone();
    let request = format!(
        "GET /v1/customers/nobody HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {secret}\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    // What still waits is sent when the program is told to stop.
    service.signal("TERM");
    assert_eq!(service.ends().0, Some(0));
    let mut bodies = Vec::new();
    while let Ok((line, body)) = received.recv_timeout(Duration::from_millis(500)) {
        assert!(line.starts_with("post /v1/traces "), "{line}");
        bodies.push(body);
    }
    let trace: [u8; 16] = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let ours: Vec<&Vec<u8>> = bodies.iter().filter(|body| holds(body, b"customers.get")).collect();
    assert!(!ours.is_empty(), "of {} bodies none holds the request", bodies.len());
    assert!(ours.iter().any(|body| holds(body, &trace)), "it is not part of the caller's trace");
    assert!(bodies.iter().all(|body| !holds(body, secret.as_bytes())), "a secret was sent");
}
