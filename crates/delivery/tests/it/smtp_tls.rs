//! Mail over STARTTLS and over TLS, with a password, to aiosmtpd: a server that others wrote. What it
//! says decides what becomes of a mail and of its address.

#![cfg(test)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use counterfoil_delivery::mail::{
    MailOptions, MailSender, SmtpOptions, SmtpSecurity, Transport, bounce,
};
use counterfoil_invoicing::Customer;
use counterfoil_store::{AttemptOutcome, Commit, Write};
use counterfoil_types::CustomerId;
use serde_json::{Value, json};

use crate::world::{World, on_both};

/// The Python that has aiosmtpd; made where it is not there.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("COUNTERFOIL_TEST_PYTHON") {
        return python.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/setup-tests");
    let output = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "scripts/setup-tests failed");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The server; it stops with the test.
struct Server {
    child: Child,
    port: u16,
    certificate: Vec<u8>,
    messages: Arc<Mutex<Vec<Value>>>,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = made.cert.pem().into_bytes();
        let (public, private) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
        std::fs::write(&public, &certificate).unwrap();
        std::fs::write(&private, made.signing_key.serialize_pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp_server.py");
        let mut child = Command::new(python())
            .arg(script)
            .args([mode.as_ref(), public.as_os_str(), private.as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let messages: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = messages.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, certificate, messages, _directory: directory }
    }

    fn sender(&self, world: &World, security: SmtpSecurity, password: &str) -> World {
        let transport = Transport::smtp(&SmtpOptions {
            host: "localhost".to_owned(),
            port: Some(self.port),
            security,
            credentials: Some(("user".to_owned(), password.to_owned())),
            certificate: Some(self.certificate.clone()),
            timeout: None,
        });
        let options = MailOptions::from_sender("Seller <billing@seller.example>").unwrap();
        let sender = MailSender::new(world.store.clone(), options, transport.unwrap()).paced(200);
        World { mail: Some(Arc::new(sender)), ..world.clone() }
    }

    /// What came, once that many came.
    fn came(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let found = self.messages.lock().unwrap().clone();
            if found.len() >= count {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{count} messages did not come");
    }
}

async fn mail(world: &World, name: &str) -> String {
    let id = CustomerId::new(name).unwrap();
    let mut customer =
        Customer::new(id, "Acme", "USD".parse().unwrap(), "Europe/Vienna".parse().unwrap());
    let mailbox = name.split('.').next().unwrap();
    customer.email = Some(format!("{mailbox}@acme.example"));
    let write = Write::PutCustomer(customer);
    world.store.commit(&world.tenant, &Commit::of(write)).await.unwrap();
    again(world, name, "1").await
}

async fn again(world: &World, name: &str, number: &str) -> String {
    let body = json!({"customer": name, "quota": {"meter": "calls", "unit": "calls"}});
    world.queue("quota.exceeded", &format!("{name}-{number}"), body).await
}

async fn outcomes(world: &World, key: &str) -> Vec<(AttemptOutcome, Option<u16>)> {
    world.attempts(key).await.iter().map(|one| (one.outcome, one.code)).collect()
}

fn message_id(message: &Value) -> String {
    let text = message["text"].as_str().unwrap();
    text.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned()
}

/// F14, F15: over STARTTLS and over TLS a server with a password takes mail, says later, says no, and
/// breaks off after the message; each is believed, and what is sent again keeps its Message-ID.
#[tokio::test]
async fn mail_goes_over_tls_to_a_server_that_others_wrote() {
    on_both(async |world: World| {
        for (mode, security) in [("starttls", SmtpSecurity::Starttls), ("tls", SmtpSecurity::Tls)] {
            let server = Server::start(mode);
            let world = server.sender(&world, security, "secret");
            let name = |who: &str| format!("{who}.{mode}");
            let good = mail(&world, &name("good")).await;
            assert_eq!(world.deliver().await.delivered, 1, "{:?}", world.attempts(&good).await);
            let came = server.came(1);
            assert_eq!((&came[0]["tls"], &came[0]["user"]), (&json!(true), &json!("user")));
            let later = mail(&world, &name("later")).await;
            assert_eq!(world.deliver().await.retried, 1);
            assert_eq!(outcomes(&world, &later).await, [(AttemptOutcome::Refused, Some(451))]);
            let drop = mail(&world, &name("drop")).await;
            assert_eq!(world.deliver().await.retried, 1);
            assert_eq!(outcomes(&world, &drop).await[0].0, AttemptOutcome::Unknown);
            // One at a time, as long as the server refuses.
            for _ in 0..4 {
                world.later(3_600);
                world.deliver().await;
            }
            let tried = outcomes(&world, &drop).await;
            assert_eq!(tried.last().unwrap().0, AttemptOutcome::Delivered, "{tried:?}");
            let came = server.came(3);
            assert_eq!(message_id(&came[1]), message_id(&came[2]));
            // A wrong password is about us: the mail waits.
            let wrong = server.sender(&world, security, "wrong");
            let waits = again(&wrong, &name("good"), "2").await;
            wrong.deliver().await;
            let refused = outcomes(&wrong, &waits).await;
            assert!(refused.iter().all(|(_, code)| *code == Some(535)), "{refused:?}");
            // What waits here is not to meet the next server.
            world.store.park_target(&world.tenant, "mail", "over", world.now()).await.unwrap();
        }
    })
    .await;
}

/// An address that the server does not know is written down and gets no more mail until it is reset;
/// one whose mail is refused for what it says is not.
#[tokio::test]
async fn an_address_that_bounces_gets_no_more_mail_until_it_is_reset() {
    on_both(async |world: World| {
        let server = Server::start("starttls");
        let world = server.sender(&world, SmtpSecurity::Starttls, "secret");
        let (tenant, id) = (world.tenant.clone(), CustomerId::new("nobody").unwrap());
        let key = mail(&world, "nobody").await;
        mail(&world, "spam").await;
        assert_eq!(world.deliver().await.parked, 2);
        assert_eq!(outcomes(&world, &key).await, [(AttemptOutcome::Refused, Some(550))]);
        let store = world.store.as_ref();
        let found = bounce::of(store, &tenant, &id).await.unwrap().unwrap();
        assert_eq!((found.address.as_str(), found.code), ("nobody@acme.example", Some(550)));
        assert_eq!(bounce::list(store, &tenant).await.unwrap().len(), 1);
        let next = again(&world, "nobody", "2").await;
        world.deliver().await;
        assert_eq!(outcomes(&world, &next).await, [(AttemptOutcome::Skipped, None)]);
        store.commit(&tenant, &Commit::of(bounce::forgotten(&id))).await.unwrap();
        let third = again(&world, "nobody", "3").await;
        world.deliver().await;
        assert_eq!(outcomes(&world, &third).await, [(AttemptOutcome::Refused, Some(550))]);
    })
    .await;
}
