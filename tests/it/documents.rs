//! Documents on the command line: named by themselves, whole or not there, and beside the mail that
//! tells of them.

#![cfg(test)]

use std::fs;

use crate::harness::Place;

/// The sample month, billed, with mails that go into a folder.
fn place() -> (Place, String) {
    let place = Place::on_the_wall_clock();
    place.file("counterfoil.toml", "[mail]\ntransport = \"file\"\nfolder = \"mails\"\n");
    place.ok(&["quickstart"]);
    let all = place.json(&["invoice", "list"]);
    let first = all[0]["number"].as_str().expect("a number").to_owned();
    (place, first)
}

#[test]
fn a_document_is_written_whole_under_its_own_name() {
    let (place, number) = place();
    let document = |more: &[&str]| place.run(&[&["invoice", "document", &number], more].concat());
    let file = place.path("page.html");
    let out = file.to_string_lossy().into_owned();
    document(&["--format", "html", "--out", &out]).exits(0).shows(&["written to", "page.html"]);
    let page = fs::read_to_string(&file).expect("the page");
    assert!(page.contains(&number) && page.ends_with("</html>\n") || page.ends_with("</html>"));
    assert!(!place.path("page.html.partial").exists());
    document(&["--format", "html", "--out", &out]).exits(0);
    assert_eq!(fs::read_to_string(&file).expect("the page"), page, "the same every time");
    // Into a folder: under its own name.
    let folder = place.path("");
    document(&["--format", "html", "--out", &folder.to_string_lossy()]).exits(0);
    assert!(place.path(&format!("invoice-{number}.html")).exists());
    document(&["--format", "html", "--out", "-"]).exits(0).shows(&["<!doctype html>"]);
    let nowhere = place.path("nowhere/page.html");
    document(&["--format", "html", "--out", &nowhere.to_string_lossy()]).refused(1, &["page.html"]);
    // What cannot be made leaves nothing behind, and says what is missing.
    let xml = place.path("invoice.xml").to_string_lossy().into_owned();
    document(&["--format", "xml-ubl", "--out", &xml]).refused(1, &["branding"]);
    assert!(!place.path("invoice.xml").exists() && !place.path("invoice.xml.partial").exists());
    let branding = place.file(
        "branding.toml",
        "colour = \"#1f4e79\"\n[seller]\nname = \"Acme Cloud B.V.\"\ncountry = \"NL\"\nregistration = \"KvK 12345678\"\ntax_id = \"NL123456789B01\"\n",
    );
    place.run(&["branding", "set", &branding]).exits(0);
    place.run(&["branding", "show"]).exits(0).shows(&["Acme Cloud B.V.", "#1f4e79"]);
    let wrong = place.file("wrong.toml", "colour = \"red\"\n");
    place.run(&["branding", "set", &wrong]).refused(1, &["#rrggbb"]);
    document(&["--format", "html", "--out", &out]).exits(0);
    assert!(fs::read_to_string(&file).expect("the page").contains("Acme Cloud B.V."));
}

#[test]
fn the_mail_that_tells_of_an_invoice_carries_it() {
    let (place, _) = place();
    place.ok(&["deliver", "--once"]);
    let mails = fs::read_dir(place.path("mails")).expect("a folder of mails");
    let mails: Vec<String> = mails
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a mail"))
        .filter(|mail| mail.contains("invoice-INV-"))
        .collect();
    assert!(!mails.is_empty(), "no mail carries an invoice");
    for mail in mails {
        assert!(
            mail.contains("multipart/mixed") && mail.contains("Content-Disposition: attachment")
        );
        assert!(mail.contains("text/html") || mail.contains("application/pdf"));
    }
}
