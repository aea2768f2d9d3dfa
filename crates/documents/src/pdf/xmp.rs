//! Says in a PDF's metadata that it is a Factur-X: Typst has no way to. The metadata is replaced by an
//! incremental update (ISO 32000, 7.5.6), which PDF/A allows; nothing that was written changes.

use crate::error::DocumentError;

/// What is declared, and the schema that declares it, as PDF/A wants of properties it does not know.
const DECLARED: &str = concat!(
    r#"<rdf:Description rdf:about="" xmlns:fx="urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#">"#,
    "<fx:DocumentType>INVOICE</fx:DocumentType><fx:DocumentFileName>factur-x.xml</fx:DocumentFileName>",
    "<fx:Version>1.0</fx:Version><fx:ConformanceLevel>EN 16931</fx:ConformanceLevel></rdf:Description>",
    r#"<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">"#,
    r#"<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">"#,
    "<pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>",
    "<pdfaSchema:namespaceURI>urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#</pdfaSchema:namespaceURI>",
    "<pdfaSchema:prefix>fx</pdfaSchema:prefix><pdfaSchema:property><rdf:Seq>",
    r#"<rdf:li rdf:parseType="Resource"><pdfaProperty:name>DocumentFileName</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category><pdfaProperty:description>The name of the embedded XML document</pdfaProperty:description></rdf:li>"#,
    r#"<rdf:li rdf:parseType="Resource"><pdfaProperty:name>DocumentType</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category><pdfaProperty:description>The type of the hybrid document</pdfaProperty:description></rdf:li>"#,
    r#"<rdf:li rdf:parseType="Resource"><pdfaProperty:name>Version</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category><pdfaProperty:description>The version of the standard of the XML document</pdfaProperty:description></rdf:li>"#,
    r#"<rdf:li rdf:parseType="Resource"><pdfaProperty:name>ConformanceLevel</pdfaProperty:name><pdfaProperty:valueType>Text</pdfaProperty:valueType><pdfaProperty:category>external</pdfaProperty:category><pdfaProperty:description>The conformance level of the XML document</pdfaProperty:description></rdf:li>"#,
    "</rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>",
);

fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = hay.get(from..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|at| at + from)
}

fn rfind(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).rposition(|window| window == needle)
}

/// The number written after `needle`.
fn number_after(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let at = find(hay, needle, from)? + needle.len();
    let digits: String = hay
        .get(at..)?
        .iter()
        .map(|b| char::from(*b))
        .skip_while(|c| c.is_ascii_whitespace())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// The PDF with the declaration.
///
/// # Errors
/// When its metadata is not where it should be; a test holds that against the writer in use.
pub(super) fn declare(pdf: Vec<u8>) -> Result<Vec<u8>, DocumentError> {
    let why = "the metadata of the PDF is not where it was expected";
    updated(pdf).ok_or_else(|| DocumentError::Template(why.to_owned()))
}

fn updated(mut pdf: Vec<u8>) -> Option<Vec<u8>> {
    let trailer = rfind(&pdf, b"trailer")?;
    let previous = number_after(&pdf, b"startxref", trailer)?;
    let dictionary_end = rfind(&pdf, b"startxref")?;
    let dictionary = String::from_utf8_lossy(pdf.get(trailer + 7..dictionary_end)?).into_owned();
    let dictionary = dictionary.trim().strip_suffix(">>")?.to_owned();
    let catalog = number_after(&pdf, b"/Root", trailer)?;
    let at = find(&pdf, format!("\n{catalog} 0 obj").as_bytes(), 0)?;
    let metadata = number_after(&pdf, b"/Metadata", at)?;
    let head = format!("\n{metadata} 0 obj");
    let object = find(&pdf, head.as_bytes(), 0)?;
    let begin = find(&pdf, b"stream", object)? + 6;
    let begin = begin + pdf.get(begin..)?.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let end = find(&pdf, b"endstream", begin)?;
    let text = String::from_utf8(pdf.get(begin..end)?.to_vec()).ok()?;
    let (before, after) = text.rsplit_once("</rdf:RDF>")?;
    let text = format!("{before}{DECLARED}</rdf:RDF>{}", after.trim_end_matches(['\r', '\n']));
    if !pdf.ends_with(b"\n") {
        pdf.push(b'\n');
    }
    let offset = pdf.len();
    pdf.extend_from_slice(
        format!(
            "{metadata} 0 obj\n<</Type/Metadata/Subtype/XML/Length {}>>\nstream\n{text}\nendstream\nendobj\n",
            text.len()
        )
        .as_bytes(),
    );
    let table = pdf.len();
    pdf.extend_from_slice(
        format!(
            "xref\n{metadata} 1\n{offset:010} 00000 n \ntrailer\n{dictionary}/Prev {previous}>>\nstartxref\n{table}\n%%EOF\n"
        )
        .as_bytes(),
    );
    Some(pdf)
}
