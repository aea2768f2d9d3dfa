//! UN/CEFACT Cross Industry Invoice (D22B), the syntax of Factur-X and ZUGFeRD, profile EN 16931.

use jiff::civil::Date;

use super::Xml;
use crate::{
    branding::Party,
    en16931::{Breakdown, EInvoice, ELine, Vat, amount},
    error::DocumentError,
};

const NAMESPACES: &str = "xmlns:rsm=\"urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100\" xmlns:ram=\"urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100\" xmlns:udt=\"urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100\" xmlns:qdt=\"urn:un:unece:uncefact:data:standard:QualifiedDataType:100\"";

fn date(xml: &mut Xml, name: &'static str, date: Date) {
    xml.within(name, |xml| {
        xml.attributed("udt:DateTimeString", Some(("format", "102")), &compact(date));
    });
}

fn compact(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), date.month(), date.day())
}

fn period(xml: &mut Xml, period: Option<(Date, Date)>) {
    let Some((from, to)) = period else { return };
    xml.within("ram:BillingSpecifiedPeriod", |xml| {
        date(xml, "ram:StartDateTime", from);
        date(xml, "ram:EndDateTime", to);
    });
}

fn party(xml: &mut Xml, name: &'static str, party: &Party) {
    xml.within(name, |xml| {
        xml.text("ram:Name", &party.name);
        if let Some(id) = &party.registration {
            xml.within("ram:SpecifiedLegalOrganization", |xml| xml.text("ram:ID", id));
        }
        if name == "ram:SellerTradeParty" && (party.phone.is_some() || party.email.is_some()) {
            xml.within("ram:DefinedTradeContact", |xml| {
                xml.text("ram:PersonName", &party.name);
                if let Some(phone) = &party.phone {
                    xml.within("ram:TelephoneUniversalCommunication", |xml| {
                        xml.text("ram:CompleteNumber", phone);
                    });
                }
                if let Some(email) = &party.email {
                    xml.within("ram:EmailURIUniversalCommunication", |xml| {
                        xml.text("ram:URIID", email);
                    });
                }
            });
        }
        xml.within("ram:PostalTradeAddress", |xml| {
            xml.maybe("ram:PostcodeCode", party.postcode.as_ref());
            for (name, line) in
                ["ram:LineOne", "ram:LineTwo", "ram:LineThree"].into_iter().zip(&party.street)
            {
                xml.text(name, line);
            }
            xml.maybe("ram:CityName", party.city.as_ref());
            xml.maybe("ram:CountryID", party.country.as_ref());
        });
        if let Some(email) = &party.email {
            xml.within("ram:URIUniversalCommunication", |xml| {
                xml.attributed("ram:URIID", Some(("schemeID", "EM")), email);
            });
        }
        if let Some(id) = &party.tax_id {
            xml.within("ram:SpecifiedTaxRegistration", |xml| {
                xml.attributed("ram:ID", Some(("schemeID", "VA")), id);
            });
        }
    });
}

fn vat(xml: &mut Xml, vat: &Vat) {
    xml.text("ram:CategoryCode", vat.category.code());
    if let Some(percent) = vat.percent {
        xml.text("ram:RateApplicablePercent", &percent.to_string());
    }
}

fn line(xml: &mut Xml, line: &ELine) -> Result<(), DocumentError> {
    let net = amount(&line.net)?;
    xml.within("ram:IncludedSupplyChainTradeLineItem", |xml| {
        xml.within("ram:AssociatedDocumentLineDocument", |xml| {
            xml.text("ram:LineID", &line.id.to_string());
        });
        xml.within("ram:SpecifiedTradeProduct", |xml| {
            xml.text("ram:Name", &line.name);
            xml.maybe("ram:Description", line.description.as_ref());
        });
        xml.within("ram:SpecifiedLineTradeAgreement", |xml| {
            xml.within("ram:NetPriceProductTradePrice", |xml| {
                xml.text("ram:ChargeAmount", &line.price.to_string());
            });
        });
        xml.within("ram:SpecifiedLineTradeDelivery", |xml| {
            let unit = Some(("unitCode", "C62"));
            xml.attributed("ram:BilledQuantity", unit, &line.quantity.to_string());
        });
        xml.within("ram:SpecifiedLineTradeSettlement", |xml| {
            xml.within("ram:ApplicableTradeTax", |xml| {
                xml.text("ram:TypeCode", "VAT");
                vat(xml, &line.vat);
            });
            period(xml, line.period);
            xml.within("ram:SpecifiedTradeSettlementLineMonetarySummation", |xml| {
                xml.text("ram:LineTotalAmount", &net);
            });
        });
    });
    Ok(())
}

/// Amounts of the totals, as text.
struct Amounts {
    lines: String,
    allowances: String,
    net: String,
    tax: String,
    total: String,
}

fn breakdown(xml: &mut Xml, part: &Breakdown) -> Result<(), DocumentError> {
    let (tax, base) = (amount(&part.tax)?, amount(&part.base)?);
    xml.within("ram:ApplicableTradeTax", |xml| {
        xml.text("ram:CalculatedAmount", &tax);
        xml.text("ram:TypeCode", "VAT");
        xml.maybe("ram:ExemptionReason", part.reason.as_ref());
        xml.text("ram:BasisAmount", &base);
        vat(xml, &part.vat);
    });
    Ok(())
}

fn allowance(xml: &mut Xml, part: &Breakdown) -> Result<(), DocumentError> {
    if part.allowance.is_zero() {
        return Ok(());
    }
    let how_much = amount(&part.allowance)?;
    xml.within("ram:SpecifiedTradeAllowanceCharge", |xml| {
        xml.within("ram:ChargeIndicator", |xml| xml.text("udt:Indicator", "false"));
        xml.text("ram:ActualAmount", &how_much);
        xml.text("ram:Reason", "Prepaid credit");
        xml.within("ram:CategoryTradeTax", |xml| {
            xml.text("ram:TypeCode", "VAT");
            vat(xml, &part.vat);
        });
    });
    Ok(())
}

fn settlement(xml: &mut Xml, invoice: &EInvoice<'_>) -> Result<(), DocumentError> {
    let payment = &invoice.branding.payment;
    xml.text("ram:PaymentReference", &invoice.model.number);
    xml.text("ram:InvoiceCurrencyCode", invoice.currency());
    if let Some(iban) = &payment.iban {
        xml.within("ram:SpecifiedTradeSettlementPaymentMeans", |xml| {
            xml.text("ram:TypeCode", "30");
            xml.within("ram:PayeePartyCreditorFinancialAccount", |xml| {
                let plain: String = iban.chars().filter(|c| !c.is_whitespace()).collect();
                xml.text("ram:IBANID", &plain);
                xml.maybe("ram:AccountName", payment.account_name.as_ref());
            });
            if let Some(bic) = &payment.bic {
                xml.within("ram:PayeeSpecifiedCreditorFinancialInstitution", |xml| {
                    xml.text("ram:BICID", bic);
                });
            }
        });
    }
    for part in &invoice.breakdown {
        breakdown(xml, part)?;
    }
    period(xml, invoice.period);
    for part in &invoice.breakdown {
        allowance(xml, part)?;
    }
    xml.within("ram:SpecifiedTradePaymentTerms", |xml| match invoice.due {
        Some(due) => date(xml, "ram:DueDateDateTime", due),
        // BR-CO-25: where something is owed, one of day and terms is said.
        None => xml.text("ram:Description", "Settled with the account"),
    });
    let amounts = Amounts {
        lines: amount(&invoice.line_total)?,
        allowances: amount(&invoice.allowances)?,
        net: amount(&invoice.net_total)?,
        tax: amount(&invoice.tax_total)?,
        total: amount(&invoice.total)?,
    };
    xml.within("ram:SpecifiedTradeSettlementHeaderMonetarySummation", |xml| {
        xml.text("ram:LineTotalAmount", &amounts.lines);
        xml.text("ram:ChargeTotalAmount", "0.00");
        xml.text("ram:AllowanceTotalAmount", &amounts.allowances);
        xml.text("ram:TaxBasisTotalAmount", &amounts.net);
        let currency = Some(("currencyID", invoice.currency()));
        xml.attributed("ram:TaxTotalAmount", currency, &amounts.tax);
        xml.text("ram:GrandTotalAmount", &amounts.total);
        xml.text("ram:DuePayableAmount", &amounts.total);
    });
    if let Some((number, at)) = &invoice.model.refers_to {
        let at = at.map(|at| invoice.model.zone.civil(at)).transpose()?;
        xml.within("ram:InvoiceReferencedDocument", |xml| {
            xml.text("ram:IssuerAssignedID", number);
            if let Some(at) = at {
                xml.within("ram:FormattedIssueDateTime", |xml| {
                    let format = Some(("format", "102"));
                    xml.attributed("qdt:DateTimeString", format, &compact(at.date()));
                });
            }
        });
    }
    Ok(())
}

/// Writes an invoice.
///
/// # Errors
/// When an amount has more than two decimals.
pub fn write(invoice: &EInvoice<'_>) -> Result<String, DocumentError> {
    let mut xml = Xml::new("rsm:CrossIndustryInvoice", NAMESPACES);
    xml.within("rsm:ExchangedDocumentContext", |xml| {
        xml.within("ram:GuidelineSpecifiedDocumentContextParameter", |xml| {
            xml.text("ram:ID", "urn:cen.eu:en16931:2017");
        });
    });
    xml.within("rsm:ExchangedDocument", |xml| {
        xml.text("ram:ID", &invoice.model.number);
        xml.text("ram:TypeCode", invoice.type_code);
        date(xml, "ram:IssueDateTime", invoice.issued);
        for note in &invoice.notes {
            xml.within("ram:IncludedNote", |xml| xml.text("ram:Content", note));
        }
    });
    let mut done = Ok(());
    xml.within("rsm:SupplyChainTradeTransaction", |xml| done = transaction(xml, invoice));
    done?;
    Ok(xml.finish())
}

fn transaction(xml: &mut Xml, invoice: &EInvoice<'_>) -> Result<(), DocumentError> {
    for each in &invoice.lines {
        line(xml, each)?;
    }
    xml.within("ram:ApplicableHeaderTradeAgreement", |xml| {
        xml.maybe("ram:BuyerReference", invoice.buyer.reference.as_ref());
        party(xml, "ram:SellerTradeParty", &invoice.seller);
        party(xml, "ram:BuyerTradeParty", &invoice.buyer);
    });
    xml.within("ram:ApplicableHeaderTradeDelivery", |xml| {
        // Usage is delivered by the end of its period.
        let at = invoice.period.map_or(invoice.issued, |(_, last)| last);
        xml.within("ram:ActualDeliverySupplyChainEvent", |xml| {
            date(xml, "ram:OccurrenceDateTime", at);
        });
    });
    let mut settled = Ok(());
    xml.within("ram:ApplicableHeaderTradeSettlement", |xml| settled = settlement(xml, invoice));
    settled
}
