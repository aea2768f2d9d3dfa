//! UBL 2.1, Invoice and CreditNote, as EN 16931 binds it.

use jiff::civil::Date;

use super::Xml;
use crate::{
    branding::Party,
    en16931::{EInvoice, ELine, Vat, amount},
    error::DocumentError,
};

const COMMON: &str = "xmlns:cac=\"urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2\" xmlns:cbc=\"urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2\"";

/// Names that differ between invoice and credit note.
struct Names {
    root: &'static str,
    type_code: &'static str,
    line: &'static str,
    quantity: &'static str,
    credit: bool,
}

const INVOICE: Names = Names {
    root: "Invoice",
    type_code: "cbc:InvoiceTypeCode",
    line: "cac:InvoiceLine",
    quantity: "cbc:InvoicedQuantity",
    credit: false,
};
const CREDIT_NOTE: Names = Names {
    root: "CreditNote",
    type_code: "cbc:CreditNoteTypeCode",
    line: "cac:CreditNoteLine",
    quantity: "cbc:CreditedQuantity",
    credit: true,
};

fn period(xml: &mut Xml, period: Option<(Date, Date)>) {
    let Some((from, to)) = period else { return };
    xml.within("cac:InvoicePeriod", |xml| {
        xml.text("cbc:StartDate", &from.to_string());
        xml.text("cbc:EndDate", &to.to_string());
    });
}

fn category(xml: &mut Xml, name: &'static str, vat: &Vat, reason: Option<&String>) {
    xml.within(name, |xml| {
        xml.text("cbc:ID", vat.category.code());
        if let Some(percent) = vat.percent {
            xml.text("cbc:Percent", &percent.to_string());
        }
        xml.maybe("cbc:TaxExemptionReason", reason);
        xml.within("cac:TaxScheme", |xml| xml.text("cbc:ID", "VAT"));
    });
}

fn party(xml: &mut Xml, name: &'static str, party: &Party) {
    xml.within(name, |xml| {
        xml.within("cac:Party", |xml| {
            if let Some(email) = &party.email {
                xml.attributed("cbc:EndpointID", Some(("schemeID", "EM")), email);
            }
            xml.within("cac:PostalAddress", |xml| {
                let mut street = party.street.iter();
                xml.maybe("cbc:StreetName", street.next());
                xml.maybe("cbc:AdditionalStreetName", street.next());
                xml.maybe("cbc:CityName", party.city.as_ref());
                xml.maybe("cbc:PostalZone", party.postcode.as_ref());
                if let Some(third) = street.next() {
                    xml.within("cac:AddressLine", |xml| xml.text("cbc:Line", third));
                }
                if let Some(country) = &party.country {
                    xml.within("cac:Country", |xml| {
                        xml.text("cbc:IdentificationCode", country);
                    });
                }
            });
            if let Some(id) = &party.tax_id {
                xml.within("cac:PartyTaxScheme", |xml| {
                    xml.text("cbc:CompanyID", id);
                    xml.within("cac:TaxScheme", |xml| xml.text("cbc:ID", "VAT"));
                });
            }
            xml.within("cac:PartyLegalEntity", |xml| {
                xml.text("cbc:RegistrationName", &party.name);
                xml.maybe("cbc:CompanyID", party.registration.as_ref());
            });
            if party.phone.is_some() || party.email.is_some() {
                xml.within("cac:Contact", |xml| {
                    xml.maybe("cbc:Telephone", party.phone.as_ref());
                    xml.maybe("cbc:ElectronicMail", party.email.as_ref());
                });
            }
        });
    });
}

fn payment(xml: &mut Xml, invoice: &EInvoice<'_>, names: &Names) {
    let payment = &invoice.branding.payment;
    if let Some(iban) = &payment.iban {
        xml.within("cac:PaymentMeans", |xml| {
            xml.text("cbc:PaymentMeansCode", "30");
            if let Some(due) = invoice.due.filter(|_| names.credit) {
                xml.text("cbc:PaymentDueDate", &due.to_string());
            }
            xml.text("cbc:PaymentID", &invoice.model.number);
            xml.within("cac:PayeeFinancialAccount", |xml| {
                let plain: String = iban.chars().filter(|c| !c.is_whitespace()).collect();
                xml.text("cbc:ID", &plain);
                xml.maybe("cbc:Name", payment.account_name.as_ref());
                if let Some(bic) = &payment.bic {
                    xml.within("cac:FinancialInstitutionBranch", |xml| xml.text("cbc:ID", bic));
                }
            });
        });
    }
    if invoice.due.is_none() {
        xml.within("cac:PaymentTerms", |xml| xml.text("cbc:Note", "Settled with the account"));
    }
}

fn line(
    xml: &mut Xml,
    line: &ELine,
    names: &Names,
    currency: Option<(&str, &str)>,
) -> Result<(), DocumentError> {
    let net = amount(&line.net)?;
    xml.within(names.line, |xml| {
        xml.text("cbc:ID", &line.id.to_string());
        xml.attributed(names.quantity, Some(("unitCode", "C62")), &line.quantity.to_string());
        xml.attributed("cbc:LineExtensionAmount", currency, &net);
        period(xml, line.period);
        xml.within("cac:Item", |xml| {
            xml.maybe("cbc:Description", line.description.as_ref());
            xml.text("cbc:Name", &line.name);
            category(xml, "cac:ClassifiedTaxCategory", &line.vat, None);
        });
        xml.within("cac:Price", |xml| {
            xml.attributed("cbc:PriceAmount", currency, &line.price.to_string());
        });
    });
    Ok(())
}

/// Writes an invoice or a credit note.
///
/// # Errors
/// When an amount has more than two decimals.
pub fn write(invoice: &EInvoice<'_>) -> Result<String, DocumentError> {
    let names = if invoice.type_code == "381" { &CREDIT_NOTE } else { &INVOICE };
    let root =
        format!("xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:{}-2\" {COMMON}", names.root);
    let currency = Some(("currencyID", invoice.currency()));
    let mut xml = Xml::new(names.root, &root);
    xml.text("cbc:CustomizationID", "urn:cen.eu:en16931:2017");
    xml.text("cbc:ID", &invoice.model.number);
    xml.text("cbc:IssueDate", &invoice.issued.to_string());
    if let Some(due) = invoice.due.filter(|_| !names.credit) {
        xml.text("cbc:DueDate", &due.to_string());
    }
    xml.text(names.type_code, invoice.type_code);
    // UBL has room for one note only, in this binding.
    if !invoice.notes.is_empty() {
        xml.text("cbc:Note", &invoice.notes.join(" · "));
    }
    xml.text("cbc:DocumentCurrencyCode", invoice.currency());
    xml.maybe("cbc:BuyerReference", invoice.buyer.reference.as_ref());
    period(&mut xml, invoice.period);
    if let Some((number, at)) = &invoice.model.refers_to {
        let at = at.map(|at| invoice.model.zone.civil(at)).transpose()?;
        xml.within("cac:BillingReference", |xml| {
            xml.within("cac:InvoiceDocumentReference", |xml| {
                xml.text("cbc:ID", number);
                if let Some(at) = at {
                    xml.text("cbc:IssueDate", &at.date().to_string());
                }
            });
        });
    }
    party(&mut xml, "cac:AccountingSupplierParty", &invoice.seller);
    party(&mut xml, "cac:AccountingCustomerParty", &invoice.buyer);
    payment(&mut xml, invoice, names);
    for part in invoice.breakdown.iter().filter(|part| !part.allowance.is_zero()) {
        let allowance = amount(&part.allowance)?;
        xml.within("cac:AllowanceCharge", |xml| {
            xml.text("cbc:ChargeIndicator", "false");
            xml.text("cbc:AllowanceChargeReason", "Prepaid credit");
            xml.attributed("cbc:Amount", currency, &allowance);
            category(xml, "cac:TaxCategory", &part.vat, None);
        });
    }
    let mut parts = Vec::new();
    for part in &invoice.breakdown {
        parts.push((part, amount(&part.base)?, amount(&part.tax)?));
    }
    let tax = amount(&invoice.tax_total)?;
    xml.within("cac:TaxTotal", |xml| {
        xml.attributed("cbc:TaxAmount", currency, &tax);
        for (part, base, tax) in &parts {
            xml.within("cac:TaxSubtotal", |xml| {
                xml.attributed("cbc:TaxableAmount", currency, base);
                xml.attributed("cbc:TaxAmount", currency, tax);
                category(xml, "cac:TaxCategory", &part.vat, part.reason.as_ref());
            });
        }
    });
    let lines = amount(&invoice.line_total)?;
    let (net, total) = (amount(&invoice.net_total)?, amount(&invoice.total)?);
    let allowances = amount(&invoice.allowances)?;
    xml.within("cac:LegalMonetaryTotal", |xml| {
        xml.attributed("cbc:LineExtensionAmount", currency, &lines);
        xml.attributed("cbc:TaxExclusiveAmount", currency, &net);
        xml.attributed("cbc:TaxInclusiveAmount", currency, &total);
        xml.attributed("cbc:AllowanceTotalAmount", currency, &allowances);
        xml.attributed("cbc:PayableAmount", currency, &total);
    });
    for each in &invoice.lines {
        line(&mut xml, each, names, currency)?;
    }
    Ok(xml.finish())
}
