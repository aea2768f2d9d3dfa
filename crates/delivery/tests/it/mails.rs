//! Mails: over a real socket to a server that answers 4xx and 5xx at each phase and breaks off;
//! rendered, addressed and refused where a name would be a header.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use counterfoil_delivery::{
    MAIL,
    mail::{
        MailOptions, MailSender, SmtpOptions, SmtpSecurity, Transport, Unsubscribe, message,
        unsubscribe,
    },
};
use counterfoil_invoicing::Customer;
use counterfoil_store::{Attempt, AttemptOutcome, Commit, DeliveryState, Write};
use counterfoil_types::{Clock, CustomerId};
use serde_json::json;

use crate::{
    smtp::{Does, MailServer, Phase},
    world::{World, on_both},
};

fn options() -> MailOptions {
    MailOptions {
        operators: vec!["ops@seller.example".parse().unwrap()],
        upgrade_url: Some("https://seller.example/upgrade".to_owned()),
        unsubscribe: Some(Unsubscribe {
            url: "https://seller.example/unsubscribe".to_owned(),
            key: b"0123456789abcdef".to_vec(),
        }),
        ..MailOptions::from_sender("Seller Billing <billing@seller.example>").unwrap()
    }
}

async fn customer(world: &World, id: &str, name: &str, email: Option<&str>) {
    let mut customer = Customer::new(
        CustomerId::new(id).unwrap(),
        name,
        "USD".parse().unwrap(),
        "America/New_York".parse().unwrap(),
    );
    customer.email = email.map(ToOwned::to_owned);
    let write = Write::PutCustomer(customer);
    world.store.commit(&world.tenant, &Commit::of(write)).await.unwrap();
}

async fn over_smtp(world: &World) -> (MailServer, World) {
    let server = MailServer::start().await;
    let transport = Transport::smtp(&SmtpOptions {
        host: "127.0.0.1".to_owned(),
        port: Some(server.address.port()),
        security: SmtpSecurity::None,
        credentials: Some(("user".to_owned(), "secret".to_owned())),
        certificate: None,
        timeout: Some(Duration::from_secs(2)),
    });
    let sender = MailSender::new(world.store.clone(), options(), transport.unwrap());
    (server, World { mail: Some(Arc::new(sender)), ..world.clone() })
}

async fn quota(world: &World, id: &str) -> String {
    let body = json!({"customer": "acme", "quota": {"meter": "api_calls", "unit": "calls",
        "used": "1250000", "hard": "1000000", "resets_at": "2025-11-01T02:00:00Z"}});
    world.queue("quota.exceeded", id, body).await
}

async fn only_attempt(world: &World, key: &str) -> Attempt {
    let attempts = world.attempts(key).await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    attempts.into_iter().next().unwrap()
}

fn message_id(message: &str) -> &str {
    message.lines().find(|line| line.starts_with("Message-ID:")).unwrap()
}

/// F14: at whatever phase a mail server says "later", the mail is tried again; when it says "no" it
/// is parked with what it said, and no other mail waits for it.
#[tokio::test]
async fn a_mail_server_that_refuses_is_believed_at_every_phase() {
    on_both(async |world: World| {
        customer(&world, "acme", "Acme Ltd", Some("pay@acme.example")).await;
        let phases = [
            Phase::Greeting,
            Phase::Ehlo,
            Phase::MailFrom,
            Phase::RcptTo,
            Phase::Data,
            Phase::AfterDot,
        ];
        for phase in phases {
            let (server, world) = over_smtp(&world).await;
            server.next(phase, Does::Says("451 4.3.0 later"));
            let key = quota(&world, &format!("{phase:?}-later")).await;
            assert_eq!(world.deliver().await.retried, 1, "{phase:?}");
            let attempt = only_attempt(&world, &key).await;
            assert_eq!((attempt.outcome, attempt.code), (AttemptOutcome::Refused, Some(451)));
            world.later(60);
            assert_eq!(world.deliver().await.delivered, 1, "{phase:?}");
            // Another server: a connection that is kept open is past its greeting.
            let (server, world) = over_smtp(&world).await;
            server.next(phase, Does::Says("554 5.7.1 no"));
            let key = quota(&world, &format!("{phase:?}-never")).await;
            assert_eq!(world.deliver().await.parked, 1, "{phase:?}");
            let attempt = only_attempt(&world, &key).await;
            assert_eq!((attempt.outcome, attempt.code), (AttemptOutcome::Refused, Some(554)));
            quota(&world, &format!("{phase:?}-next")).await;
            assert_eq!(world.deliver().await.delivered, 1, "others go on after {phase:?}");
        }
        let parked = world.deliveries(Some(DeliveryState::Parked)).await;
        assert_eq!(parked.len(), phases.len());
        assert!(parked.iter().all(|delivery| delivery.target == MAIL && delivery.reason.is_some()));
        // A wrong password is about us, not about the mail.
        let (server, world) = over_smtp(&world).await;
        server.next(Phase::Auth, Does::Says("535 5.7.8 who are you"));
        quota(&world, "auth").await;
        assert_eq!(world.deliver().await.retried, 1);
    })
    .await;
}

/// F15: a connection that breaks after the last dot leaves open whether the mail was taken. It is
/// sent again with the same Message-ID, so it may come twice and is never lost.
#[tokio::test]
async fn a_mail_whose_answer_is_lost_is_sent_again_under_the_same_id() {
    on_both(async |world: World| {
        customer(&world, "acme", "Acme Ltd", Some("pay@acme.example")).await;
        for phase in [Phase::AfterDot, Phase::Data, Phase::MailFrom, Phase::Greeting] {
            let (server, world) = over_smtp(&world).await;
            server.next(phase, Does::BreaksOff);
            let key = quota(&world, &format!("{phase:?}")).await;
            assert_eq!(world.deliver().await.retried, 1, "{phase:?}");
            assert_eq!(only_attempt(&world, &key).await.outcome, AttemptOutcome::Unknown);
            world.later(60);
            assert_eq!(world.deliver().await.delivered, 1);
            let messages = server.messages();
            assert_eq!(messages.len(), if phase == Phase::AfterDot { 2 } else { 1 });
            assert!(messages.iter().all(|one| message_id(one) == message_id(&messages[0])));
            assert!(message_id(&messages[0]).ends_with("@seller.example>"));
        }
    })
    .await;
}

/// What a customer reads: its name, its words, its zone's day; and it may stop what it need not get.
#[tokio::test]
async fn a_mail_speaks_to_its_reader_and_can_be_stopped() {
    on_both(async |world: World| {
        customer(&world, "acme", "Acme <b>& Söhne</b>", Some("pay@acme.example")).await;
        customer(&world, "shy", "Shy", None).await;
        let folder = tempfile::tempdir().unwrap();
        let transport = Transport::File(folder.path().to_owned());
        let sender = MailSender::new(world.store.clone(), options(), transport);
        let world = World { mail: Some(Arc::new(sender)), ..world };
        quota(&world, "1").await;
        world.queue("grant.expired", "1", json!({"grant": "g"})).await;
        let amount = json!({"amount": "1234.50", "currency": "USD"});
        let nobody = world
            .queue(
                "payment.recorded",
                "1",
                json!({"payment": {"customer": "shy",
                "amount": amount, "received_at": "2025-10-09T02:00:00Z"}}),
            )
            .await;
        let run = json!({"run": "r-1", "period": "2025-10"});
        world.queue("run.waiting", "1", run).await;
        assert_eq!(world.deliver().await.delivered, 3);
        assert_eq!(only_attempt(&world, &nobody).await.outcome, AttemptOutcome::Skipped);
        let read = || {
            let mut files: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect();
            files.sort();
            files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
        };
        let files = read();
        assert_eq!(files.len(), 2);
        let plain = |text: &str| text.replace("=\r\n", "").replace("=3D", "=");
        let to_customer = plain(&files[0]);
        for words in [
            "To: =?utf-8?b?",
            "<pay@acme.example>",
            "1,250,000 calls",
            "31 October 2025",
            "https://seller.example/upgrade",
            "List-Unsubscribe: <https://seller.example/unsubscribe?token=",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
            "&lt;b&gt;&amp; S",
        ] {
            let shown = to_customer.replace("\r\n ", "");
            assert!(shown.contains(words), "{words:?} is not in\n{to_customer}");
        }
        assert!(plain(&files[1]).contains("To: ops@seller.example"));
        assert!(!files[1].contains("List-Unsubscribe"), "operators are told in any case");
        let acme = CustomerId::new("acme").unwrap();
        let store = world.store.as_ref();
        let now = world.clock.now();
        unsubscribe::stop(store, &world.tenant, &acme, "quota.exceeded", now).await.unwrap();
        let stopped = quota(&world, "2").await;
        assert_eq!(world.deliver().await.delivered, 1);
        assert_eq!(only_attempt(&world, &stopped).await.outcome, AttemptOutcome::Skipped);
        assert_eq!(read().len(), 2);
    })
    .await;
}

/// F34: nothing a customer is called becomes a header.
#[tokio::test]
async fn a_line_break_in_any_field_is_refused() {
    let break_in = "x\r\nBcc: thief@evil.example";
    assert!(message::mailbox("sender", &format!("{break_in} <a@b.example>")).is_err());
    assert!(message::mailbox("sender", &format!("a@b.example{break_in}")).is_err());
    assert!(message::addressed(break_in, "a@b.example").is_err());
    assert!(message::addressed("a", &format!("a@b.example\r\nBcc: {break_in}")).is_err());
    assert!(message::addressed("a", "a@b.example\n").is_err());
    assert!(message::one_line("subject", "a\nb").is_err());
    assert!(MailOptions::from_sender(&format!("{break_in} <a@b.example>")).is_err());
    on_both(async |world: World| {
        let (server, world) = over_smtp(&world).await;
        customer(&world, "acme", break_in, Some("pay@acme.example")).await;
        quota(&world, "name").await;
        assert_eq!(world.deliver().await.parked, 1);
        customer(&world, "acme", "Acme", Some("pay@acme.example\r\nBcc: t@evil.example")).await;
        quota(&world, "address").await;
        assert_eq!(world.deliver().await.parked, 1);
        customer(&world, "acme", "Acme", Some("pay@acme.example")).await;
        let subject = json!({"job": "x\r\nBcc: t@evil.example"});
        world.queue("job.parked", "subject", subject).await;
        assert_eq!(world.deliver().await.parked, 1);
        assert!(server.messages().is_empty());
    })
    .await;
}
