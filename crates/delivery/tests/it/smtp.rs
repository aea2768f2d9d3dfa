//! A mail server over a real socket, scripted: at a phase of the conversation it answers what it is
//! told, or breaks off. It records the messages it was given, whether it took them or not.

#![cfg(test)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// Where it departs from the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Greeting,
    Ehlo,
    Auth,
    MailFrom,
    RcptTo,
    Data,
    AfterDot,
}

/// How it departs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Says(&'static str),
    BreaksOff,
}

#[derive(Default)]
struct Script {
    turns: Vec<(Phase, Does)>,
    messages: Vec<String>,
}

/// The server; it stops with the test.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let shared = script.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = shared.clone();
                tokio::spawn(async move {
                    let _ = talk(stream, &script).await;
                });
            }
        });
        Self { address, script }
    }

    /// Does this the next time it comes to that phase.
    pub(crate) fn next(&self, phase: Phase, does: Does) {
        self.script.lock().unwrap().turns.push((phase, does));
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.script.lock().unwrap().messages.clone()
    }
}

/// Says what the script has for this phase, else the usual; `false`: it broke off.
async fn say(
    stream: &mut BufReader<TcpStream>,
    script: &Mutex<Script>,
    phase: Phase,
    usual: &str,
) -> std::io::Result<bool> {
    let turn = {
        let mut script = script.lock().unwrap();
        let at = script.turns.iter().position(|(at, _)| *at == phase);
        at.map(|at| script.turns.remove(at).1)
    };
    let line = match turn {
        None => usual,
        Some(Does::Says(line)) => line,
        Some(Does::BreaksOff) => return Ok(false),
    };
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    Ok(true)
}

async fn talk(stream: TcpStream, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    if !say(&mut stream, script, Phase::Greeting, "220 here").await? {
        return Ok(());
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let word = line.split([' ', ':', '\r']).next().unwrap().to_ascii_uppercase();
        let (phase, usual) = match word.as_str() {
            "EHLO" => (Phase::Ehlo, "250-here\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"),
            "AUTH" => (Phase::Auth, "235 welcome"),
            "MAIL" => (Phase::MailFrom, "250 ok"),
            "RCPT" => (Phase::RcptTo, "250 ok"),
            "DATA" => (Phase::Data, "354 go on"),
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            _ => {
                stream.write_all(b"250 ok\r\n").await?;
                continue;
            }
        };
        let refused = script.lock().unwrap().turns.iter().any(|(at, _)| *at == phase);
        if !say(&mut stream, script, phase, usual).await? {
            return Ok(());
        }
        if phase != Phase::Data || refused {
            continue;
        }
        let mut message = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line == ".\r\n" {
                break;
            }
            message.push_str(&line);
        }
        script.lock().unwrap().messages.push(message);
        if !say(&mut stream, script, Phase::AfterDot, "250 taken").await? {
            return Ok(());
        }
    }
}
